// Two runs side by side: queries that one of them finds and the other does not.
"use strict";

page.views.compare = (() => {
  const KINDS = {
    gained: "gained by B",
    lost: "lost by B",
    both_wrong: "wrong in both",
    both_right: "right in both",
  };
  let kind = "gained";
  let a = null;
  let b = null;
  let grid = null;

  const isFound = ({ right_at }, query, n) => right_at[query] > 0 && right_at[query] <= n;

  function kindOf(query, n) {
    const [one, other] = [isFound(a.answers, query, n), isFound(b.answers, query, n)];
    if (one) return other ? "both_right" : "lost";
    return other ? "gained" : "both_wrong";
  }

  function grouped(n) {
    const groups = Object.fromEntries(Object.keys(KINDS).map((name) => [name, []]));
    for (const query of b.order) {
      if (a.answers.counted[query]) groups[kindOf(query, n)].push(query);
    }
    return groups;
  }

  function sentence(n) {
    if (a.run === b.run) return "A and B are the same run: choose another.";
    const found = page.difference(a.run, b.run, n);
    if (!found) {
      return (
        a.run.incomparable ?? b.run.incomparable ?? `The runs kept too few results for recall@${n}.`
      );
    }
    const isSure = found.low > 0 || found.high < 0;
    return (
      `Recall@${n}, B − A: ${page.points(found.value)} points, interval ${page.points(found.low)} to ` +
      `${page.points(found.high)}, ${page.pvalue(found.p)}. ` +
      `The difference is ${isSure ? "" : "not "}significant.`
    );
  }

  function parameters() {
    const changed = page.changedParams(a.run, b.run);
    if (!changed.length) return "";
    const said = changed.map(([place, one, other]) => `${place} ${one} → ${other}`);
    return `Parameters of A → B: ${said.join("; ")}.`;
  }

  function card(query) {
    const name = b.set.names.queries[query];
    const pictures = [
      page.picture(b.set, "queries", query, page.el("span", { className: "verdict" }, "query")),
      page.shortResult(a, query, "A"),
      page.shortResult(b, query, "B"),
      page.shortRight(b, query),
    ];
    const marks = [a, b].map((data, at) =>
      page.el(
        "span",
        { className: "small" },
        `${"AB"[at]} `,
        page.outcomeText(page.category(data.answers, query)),
      ),
    );
    return page.card(name, pictures, marks);
  }

  function panel(query) {
    const both = [
      ["A", a],
      ["B", b],
    ].map(([letter, data]) =>
      page.el(
        "section",
        {},
        page.el("h2", {}, `${letter}: ${page.runName(data.run)}`),
        page.queryPanel(data, query),
      ),
    );
    return page.el("div", { className: "both" }, ...both);
  }

  function draw() {
    const n = Number(page.$("compare-n").value);
    page.$("test").textContent = sentence(n);
    page.$("changed").textContent = parameters();
    const groups = grouped(n);
    const kinds = Object.entries(KINDS).map(([name, text]) => ({
      name,
      label: page.el("span", {}, text),
      count: groups[name].length,
    }));
    page.chips(
      page.$("kinds"),
      kinds,
      (name) => name === kind,
      (name) => {
        kind = name;
        draw();
        page.$("kinds").querySelector("input:checked").focus();
      },
      "radio",
    );
    const queries = groups[kind];
    page.$("compare-count").textContent =
      `${page.plural(queries.length, "query", "queries")} ${KINDS[kind]}, surest of B first.`;
    grid.show(queries, card, (at) =>
      page.viewer.open(queries, at, panel, (last) => grid.focus(last)),
    );
  }

  function start() {
    page.options(
      page.$("compare-n"),
      page.summary.ns.map((n) => [n, n === 1 ? "the first result" : `the first ${n}`]),
      page.summary.ns[0],
    );
    page.$("compare-n").addEventListener("change", draw);
    grid = page.grid(page.$("pairs"), { width: 340, height: 190 });
  }

  async function show() {
    const { set, run, against } = page.state;
    const loaded = await Promise.all([page.loadRun(set, against), page.loadRun(set, run)]);
    if (set !== page.state.set || run !== page.state.run || against !== page.state.against) return;
    [a, b] = loaded;
    draw();
  }

  return { start, show };
})();
