// What an answer says, in words and as a list of results.
"use strict";

page.told = (() => {
  function position(e) {
    return e.latitude !== null
      ? `${e.latitude.toFixed(6)}, ${e.longitude.toFixed(6)}`
      : `${e.easting.toFixed(1)}, ${e.northing.toFixed(1)} metres`;
  }

  const agreement = (e) =>
    e.agree === 1
      ? `1 of ${page.plural(e.results, "result")}, no other agrees`
      : `within ${e.spread_m.toFixed(0)} m, ${e.agree} of ${e.results} results agree`;

  const UNKNOWN = "The positions of these images are not known.";

  // For those who listen.
  function sentence({ photograph, estimate, verdict }) {
    const where = estimate ? `${position(estimate)}, ${agreement(estimate)}.` : UNKNOWN;
    return `${photograph}: ${where} ${verdict}`;
  }

  function parts(answer) {
    const found = [page.el("p", { className: "small" }, answer.photograph)];
    const e = answer.estimate;
    if (e) {
      const here = position(e);
      found.push(page.el("p", { className: "here" }, here), page.el("p", {}, agreement(e)));
      const copy = page.el("button", { type: "button", onclick: () => copied(copy, here) }, "Copy");
      const link = { href: e.map ?? "", target: "_blank", rel: "noreferrer noopener" };
      found.push(page.el("p", { className: "bar tight" }, copy, e.map ? page.el("a", link, "Open in OpenStreetMap") : null));
    } else {
      found.push(page.el("p", {}, UNKNOWN));
    }
    const [mark, name] =
      answer.sure === null ? ["?", "unknown"] : answer.sure === "no" ? ["✗", "unsure"] : ["✓", "sure"];
    found.push(page.el("p", { className: name }, `${mark} ${answer.verdict}`));
    return found;
  }

  async function copied(button, text) {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Cannot be copied here";
    }
  }

  // A button with an image of the map, and the mark that it has on the drawn map.
  function entry(result, lit) {
    const image = page.el("img", { alt: "" });
    const isPlaced = Number.isFinite(result.easting);
    const place = isPlaced ? `place ${result.place}` : "position unknown";
    const mark = page.el("span", { className: page.drawn.classOf(result), "aria-hidden": "true" }, result.place);
    const text = page.el(
      "span",
      {},
      isPlaced ? mark : null,
      page.el("strong", {}, `${result.rank}. ${place}`),
      page.el("span", { className: "small" }, `score ${result.score.toFixed(3)}, distance ${result.distance.toFixed(4)}`),
      page.el("span", { className: "small name" }, result.database),
    );
    const button = page.el("button", { type: "button" }, image, text);
    for (const event of ["focus", "pointerenter", "click"]) button.addEventListener(event, lit);
    return { button, image };
  }

  return { sentence, parts, entry };
})();
