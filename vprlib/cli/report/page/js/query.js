// One query: its picture, what was found for it, and the right image.
"use strict";

// A picture with a caption; its name stands in place of a picture that the page does not have.
page.picture = (set, side, row, ...caption) => {
  const name = set.names[side][row];
  const source = set.pictures[side].get(row);
  const image = source
    ? page.el("img", { src: source, alt: name, loading: "lazy", decoding: "async" })
    : page.el("span", { className: "nameless", title: name }, page.ending(name, 60));
  return page.el(
    "span",
    { className: "picture" },
    image,
    page.el("span", { className: "caption" }, ...caption),
  );
};

// Inliers are whole numbers.
page.score = (score, digits = 4) =>
  Number.isInteger(score) ? String(score) : Number.isFinite(score) ? score.toFixed(digits) : "none";

page.nothing = (text) =>
  page.el("span", { className: "picture" }, page.el("span", { className: "nameless" }, text));

const text = (className, content) => page.el("span", { className }, content);

// What a card says of a result, in two short lines; `letter` names its run.
page.shortResult = ({ set, answers }, query, letter = "") => {
  const at = query * answers.columns;
  if (answers.rows[at] < 0) return page.nothing("nothing found");
  const verdict = answers.hits[at] === 1 ? "right" : "wrong";
  const mark = verdict === "right" ? "✓" : "✗";
  return page.picture(
    set,
    "database",
    answers.rows[at],
    text(`verdict ${verdict}`, `${letter} ${mark} ${verdict}`.trim()),
    text("small", page.metres(page.apart(set, query, answers.rows[at]))),
  );
};

page.shortRight = ({ set, answers }, query) => {
  const row = answers.right[query];
  if (row < 0) return page.nothing("no right image");
  const rank = answers.right_at[query];
  return page.picture(
    set,
    "database",
    row,
    text("verdict right", "right image"),
    text("small", rank ? `rank ${rank}` : "not found"),
  );
};

// The captions of a result: whether it is right, how far off, and how alike.
function resultCaption({ set, answers }, query, rank) {
  const at = query * answers.columns + rank;
  const isRight = answers.hits[at] === 1;
  const verdict = isRight ? "right" : "wrong";
  const lines = [
    `distance ${answers.distances[at].toFixed(4)}`,
    page.metres(page.apart(set, query, answers.rows[at])),
  ];
  if (answers.inliers?.[at] >= 0) lines.push(page.plural(answers.inliers[at], "inlier"));
  return [
    text(`verdict ${verdict}`, `${rank + 1}. ${isRight ? "✓" : "✗"} ${verdict}`),
    ...lines.map((line) => text("small", line)),
  ];
}

page.results = (data, query) => {
  const { rows, columns } = data.answers;
  const ranks = Array.from({ length: columns }, (_, rank) => rank);
  return ranks
    .filter((rank) => rows[query * columns + rank] >= 0)
    .map((rank) =>
      page.picture(
        data.set,
        "database",
        rows[query * columns + rank],
        ...resultCaption(data, query, rank),
      ),
    );
};

page.rightImage = ({ set, answers }, query) => {
  const row = answers.right[query];
  if (row < 0) return page.nothing("no right image in the database");
  const rank = answers.right_at[query];
  const place = rank ? `found at rank ${rank}` : "not found";
  const metres = page.metres(page.apart(set, query, row));
  return page.picture(
    set,
    "database",
    row,
    text("verdict right", "✓ right image"),
    text("small", place),
    text("small", metres),
  );
};

page.queryFacts = ({ set, run, answers }, query) => {
  const facts = [["Outcome", page.outcomeText(page.category(answers, query))]];
  if (answers.scores) {
    const score = answers.scores[query];
    facts.push([`Score (${run.kind})`, page.score(score)]);
  }
  for (const fact of set.facts) {
    const label = fact.labels[fact.of[query]];
    if (label === undefined || fact.name.endsWith("_deg") || fact.name.endsWith("_m")) continue;
    facts.push([page.factTitle(fact.name), label]);
  }
  if (set.heading && Number.isFinite(set.heading[query])) {
    facts.push(["Heading difference", `${set.heading[query].toFixed(1)}°`]);
  }
  if (set.nearest) facts.push(["Nearest database image", page.metres(set.nearest[query])]);
  return facts;
};

// Everything about one query.
page.queryPanel = (data, query) => {
  const { set } = data;
  const facts = page
    .queryFacts(data, query)
    .flatMap(([name, value]) => [page.el("dt", {}, name), page.el("dd", {}, value)]);
  const top = page.el(
    "div",
    { className: "pair" },
    page.picture(set, "queries", query, text("verdict", "query")),
    page.rightImage(data, query),
  );
  return page.el(
    "article",
    { className: "query", "aria-label": `Query ${set.names.queries[query]}` },
    page.el("h2", { className: "name" }, set.names.queries[query]),
    page.el("dl", {}, ...facts),
    top,
    page.el("h3", {}, "Results"),
    page.el("div", { className: "results" }, ...page.results(data, query)),
  );
};

// The dialog in which the arrow keys walk through a list of queries.
page.viewer = {
  list: [],
  at: 0,
  draw: null,
  onClose: null,

  open(list, at, draw, onClose) {
    Object.assign(this, { list, at, draw, onClose });
    this.show();
    page.$("viewer").showModal();
    page.$("after").focus();
  },

  step(by) {
    const next = this.at + by;
    if (next < 0 || next >= this.list.length) return;
    this.at = next;
    this.show();
  },

  show() {
    page.$("viewer-query").replaceChildren(this.draw(this.list[this.at]));
    page.$("viewer-query").scrollTop = 0;
    page.$("place").textContent = `${this.at + 1} of ${this.list.length}`;
    page.$("before").disabled = this.at === 0;
    page.$("after").disabled = this.at === this.list.length - 1;
  },

  listen() {
    const dialog = page.$("viewer");
    page.$("before").addEventListener("click", () => this.step(-1));
    page.$("after").addEventListener("click", () => this.step(1));
    page.$("close").addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => this.onClose?.(this.at));
    dialog.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (by) {
        event.preventDefault();
        this.step(by);
      }
    });
  },
};
