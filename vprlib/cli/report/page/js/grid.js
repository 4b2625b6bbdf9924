// A long list of cards, of which only those in sight exist.
"use strict";

const GAP = 12;
const AHEAD = 600; // pixels above and below the window

// `holder` gets cards of one height, in as many columns as fit; `make` gives the card of an item,
// and `open` is called when one is clicked. The arrow keys move between cards.
page.grid = (holder, { width, height }) => {
  let items = [];
  let make = null;
  let open = null;
  const shown = new Map();
  let columns = 1;

  const layout = () => {
    columns = Math.max(1, Math.floor((holder.clientWidth + GAP) / (width + GAP)));
    holder.style.height = `${Math.ceil(items.length / columns) * (height + GAP)}px`;
  };

  const place = (card, at) => {
    const across = (holder.clientWidth + GAP) / columns;
    card.style.width = `${across - GAP}px`;
    card.style.height = `${height}px`;
    card.style.transform = `translate(${(at % columns) * across}px, ${Math.floor(at / columns) * (height + GAP)}px)`;
  };

  const inSight = () => {
    const top = -holder.getBoundingClientRect().top;
    const from = Math.floor(Math.max(0, top - AHEAD) / (height + GAP)) * columns;
    const to = Math.ceil((top + innerHeight + AHEAD) / (height + GAP)) * columns;
    return [from, Math.min(items.length, Math.max(0, to))];
  };

  const draw = () => {
    if (!holder.offsetParent) return;
    const [from, to] = inSight();
    for (const [at, card] of shown) {
      if ((at < from || at >= to) && !card.contains(document.activeElement)) {
        card.remove();
        shown.delete(at);
      }
    }
    for (let at = from; at < to; at++) {
      if (shown.has(at)) continue;
      const button = make(items[at]);
      const properties = {
        role: "listitem",
        "aria-setsize": items.length,
        "aria-posinset": at + 1,
      };
      const card = page.el("div", { className: "cell", ...properties }, button);
      card.dataset.at = at;
      place(card, at);
      shown.set(at, card);
      holder.append(card);
    }
  };

  const focus = (at) => {
    if (at < 0 || at >= items.length) return;
    const top =
      holder.getBoundingClientRect().top + scrollY + Math.floor(at / columns) * (height + GAP);
    const margin = 120;
    if (top < scrollY + margin) scrollTo(0, top - margin);
    if (top + height > scrollY + innerHeight) scrollTo(0, top + height + GAP - innerHeight);
    draw();
    shown.get(at)?.querySelector("button").focus({ preventScroll: true });
  };

  const show = (newItems, newMake, newOpen) => {
    [items, make, open] = [newItems, newMake, newOpen];
    for (const card of shown.values()) card.remove();
    shown.clear();
    layout();
    draw();
  };

  const indexOf = (target) => {
    const cell = target.closest?.(".cell");
    return cell ? Number(cell.dataset.at) : -1;
  };

  holder.addEventListener("click", (event) => {
    const at = indexOf(event.target);
    if (at >= 0) open(at);
  });
  holder.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    const at = indexOf(event.target);
    if (by && at >= 0) {
      event.preventDefault();
      focus(at + by);
    }
  });
  addEventListener("scroll", page.eachFrame(draw), { passive: true });
  new ResizeObserver(
    page.eachFrame(() => {
      layout();
      for (const [at, card] of shown) place(card, at);
      draw();
    }),
  ).observe(holder);
  return { show, focus };
};
