// The look of an outcome: a colour that the colour-blind tell apart (Okabe and Ito), and a shape.
"use strict";

page.outcomes = {
  correct: { text: "correct", shape: "M5 0A5 5 0 1 1 -5 0A5 5 0 1 1 5 0Z" },
  near_miss: { text: "near miss", shape: "M0 -6L5.8 4.5L-5.8 4.5Z" },
  lower_rank: { text: "right at a lower rank", shape: "M-4.5 -4.5H4.5V4.5H-4.5Z" },
  far: {
    text: "far away",
    shape: "M-5.5 -3L-3 -5.5L0 -2.5L3 -5.5L5.5 -3L2.5 0L5.5 3L3 5.5L0 2.5L-3 5.5L-5.5 3L-2.5 0Z",
  },
  unanswerable: { text: "no right image", shape: "M0 -6L6 0L0 6L-6 0Z" },
  nothing_found: {
    text: "nothing found",
    shape: "M-2 -5.5H2V-2H5.5V2H2V5.5H-2V2H-5.5V-2H-2Z",
  },
  unsure: { text: "not answered", shape: "M4 0A4 4 0 1 1 -4 0A4 4 0 1 1 4 0Z" },
};

page.colour = (name) =>
  getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

page.mark = (outcome) => {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", "-7 -7 14 14");
  svg.setAttribute("class", `mark ${outcome}`);
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", page.outcomes[outcome].shape);
  svg.append(path);
  return svg;
};

page.outcomeText = (outcome) =>
  page.el("span", { className: "outcome" }, page.mark(outcome), page.outcomes[outcome].text);

// Checkboxes that look like buttons, one a kind, with the number of queries of each.
page.chips = (holder, kinds, isOn, onChange, type = "checkbox") => {
  const boxes = kinds.map(({ name, label, count }) => {
    const properties = { type, name: holder.id, value: name, checked: isOn(name) };
    const box = page.el("input", properties);
    box.addEventListener("change", () => onChange(name, box.checked));
    return page.el("label", { className: "chip" }, box, label, page.el("b", {}, String(count)));
  });
  holder.replaceChildren(holder.querySelector("legend"), ...boxes);
};
