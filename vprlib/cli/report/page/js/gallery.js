// The gallery: queries by outcome and by facts, the surest mistakes first.
"use strict";

// A card of a query with pictures beside each other; what they show is said in words below them.
page.card = (name, pictures, foot) => {
  const card = page.el(
    "button",
    { type: "button", className: "card", "data-name": name },
    page.el("span", { className: "pictures" }, ...pictures),
    page.el(
      "span",
      { className: "foot" },
      ...foot,
      page.el("span", { className: "small name" }, page.ending(name, 40)),
    ),
  );
  for (const image of card.querySelectorAll("img")) image.alt = "";
  return card;
};

page.views.gallery = (() => {
  const MISTAKES = ["near_miss", "lower_rank", "far", "nothing_found"];
  const wanted = new Set(MISTAKES);
  const chosen = {}; // name of a fact → label, or "" for all
  let data = null;
  let grid = null;

  const passesFacts = (query) =>
    data.set.facts.every((fact) => {
      const label = chosen[fact.name];
      return !label || fact.labels[fact.of[query]] === label;
    });

  function card(query) {
    const { set, answers } = data;
    const name = set.names.queries[query];
    const outcome = page.category(answers, query);
    const pictures = [
      page.picture(set, "queries", query, page.el("span", { className: "verdict" }, "query")),
      page.shortResult(data, query),
      page.shortRight(data, query),
    ];
    const foot = [page.outcomeText(outcome)];
    if (answers.scores)
      foot.push(
        page.el("span", { className: "small" }, `score ${page.score(answers.scores[query], 3)}`),
      );
    return page.card(name, pictures, foot);
  }

  function drawFacts() {
    page.$("facts").replaceChildren(
      ...data.set.facts.map((fact) => {
        const select = page.el("select", { name: fact.name });
        const entries = [["", "all"], ...fact.labels.map((label) => [label, label])];
        if (!fact.labels.includes(chosen[fact.name])) chosen[fact.name] = "";
        page.options(select, entries, chosen[fact.name]);
        select.addEventListener("change", () => {
          chosen[fact.name] = select.value;
          drawCards();
        });
        return page.el("label", {}, `${page.factTitle(fact.name)} `, select);
      }),
    );
  }

  const isThere = (name) => data.answers.category.includes(page.summary.categories.indexOf(name));

  function drawOutcomes(passing) {
    const counts = Object.fromEntries(page.summary.categories.map((name) => [name, 0]));
    for (const query of passing) counts[page.category(data.answers, query)] += 1;
    const rare = ["nothing_found", "unanswerable"].filter(isThere);
    const order = ["far", "near_miss", "lower_rank", ...rare, "correct"];
    const kinds = order.map((name) => ({
      name,
      label: page.outcomeText(name),
      count: counts[name],
    }));
    page.chips(
      page.$("outcomes"),
      kinds,
      (name) => wanted.has(name),
      (name, isOn) => {
        isOn ? wanted.add(name) : wanted.delete(name);
        drawCards(name);
      },
    );
  }

  function drawCards(focused) {
    const passing = Array.from(data.order).filter(passesFacts);
    drawOutcomes(passing);
    if (focused) page.$("outcomes").querySelector(`input[value="${focused}"]`).focus();
    const queries = passing.filter((query) => wanted.has(page.category(data.answers, query)));
    const text = page.plural(queries.length, "query", "queries");
    page.$("gallery-count").textContent =
      `${text} of ${data.set.count}, ${data.answers.scores ? "highest score" : "smallest distance"} first.`;
    grid.show(queries, card, (at) =>
      page.viewer.open(
        queries,
        at,
        (query) => page.queryPanel(data, query),
        (last) => grid.focus(last),
      ),
    );
  }

  function start() {
    grid = page.grid(page.$("cards"), { width: 340, height: 216 });
  }

  async function show() {
    const { set, run } = page.state;
    const loaded = await page.loadRun(set, run);
    if (set !== page.state.set || run !== page.state.run) return;
    data = loaded;
    drawFacts();
    drawCards();
  }

  return { start, show };
})();
