// The table of all runs.
"use strict";

page.views.table = (() => {
  const ADDED = " + second look"; // to the names of runs
  // a size of a run, its title, unit, and the places after the point
  const COSTS = [
    ["dimensions", "Dimensions", 1, 0],
    ["descriptor_bytes", "Bytes", 1, 0],
    ["network_bytes", "Network, MB", 1e6, 1],
    ["ms_an_image", "ms an image", 1, 1],
  ];
  let sorting = { column: null, isFalling: true };

  // Columns that any run has: their title, the value to sort by, and the cell.
  function columns() {
    const { summary } = page;
    const base = page.$("baseline").value;
    const runs = summary.runs;
    const found = [
      {
        title: "Run",
        of: (run) => `${page.runName(run)} ${summary.sets[run.set].name}`,
        cell: nameCell,
        width: "narrow",
      },
      { title: "Set", of: (run) => summary.sets[run.set].name, width: "broad" },
      { title: "Variant", of: variantOf, width: "broad" },
      { title: "Code", of: codeOf, width: "broad" },
    ];
    if (runs.some((run) => run.metrics.protocol !== "plain")) {
      found.push({ title: "Protocol", of: (run) => run.metrics.protocol ?? "plain" });
    }
    found.push({
      title: "Queries",
      of: (run) => run.metrics.queries,
      isNumber: true,
      width: "broad",
    });
    for (const name of [...summary.ns.map(page.recallName), "map"]) {
      if (!runs.some((run) => name in run.metrics)) continue;
      const title = name === "map" ? "mAP" : `R@${name.split("@")[1]}`;
      found.push({
        title,
        of: (run) => run.metrics[name],
        cell: (run) => recallCell(run, name),
        isNumber: true,
      });
      if (name === "map" || base === "") continue;
      const change = (run) => changeOf(run, base, Number(name.split("@")[1]));
      found.push({
        title: `Δ ${title}`,
        of: (run) => change(run)?.value,
        cell: (run) => changeCell(run, base, change(run)),
        isNumber: true,
      });
    }
    return found;
  }

  // Of a window that is too narrow for a column each.
  const nameCell = (run) => [
    page.runName(run),
    page.el("span", { className: "ends" }, page.summary.sets[run.set].name),
  ];

  const variantOf = (run) => (run.revision ? `${run.revision}:${run.variant}` : run.variant);

  const codeOf = (run) => (run.second_look ? run.code + ADDED : run.code);

  const setOf = (run) => page.summary.sets[run.set].name;

  const looks = (column) => `${column.isNumber ? "number" : ""} ${column.width ?? ""}`;

  function changeOf(run, base, n) {
    const other = page.runOf(page.summary.sets[run.set].name, base);
    return other && other !== run ? page.difference(other, run, n) : null;
  }

  function recallCell(run, name) {
    const { [name]: value, [`${name}_low`]: low, [`${name}_high`]: high } = run.metrics;
    if (value === undefined) return ["–"];
    if (low === undefined) return [page.percent(value)];
    const ends = `${page.percent(low)}–${page.percent(high)}`;
    return [page.percent(value), page.el("span", { className: "ends" }, ends)];
  }

  function changeCell(run, base, change) {
    if (page.runName(run) === base) return [page.el("span", { className: "ends" }, "baseline")];
    if (!change)
      return [page.el("span", { className: "ends", title: run.incomparable ?? "" }, "–")];
    const [value, ends] = changeParts(change);
    return [value, page.el("span", { className: "ends" }, ends)];
  }

  function changeParts({ value, low, high }) {
    const isSure = low > 0 || high < 0;
    return [
      page.el(isSure ? "strong" : "span", {}, page.points(value)),
      `${page.points(low)} to ${page.points(high)}`,
    ];
  }

  function sorted(column) {
    const runs = [...page.summary.runs];
    if (!column) return runs;
    const sign = sorting.isFalling ? -1 : 1;
    const known = (value) => value !== undefined && value !== null;
    return runs.sort((a, b) => {
      const [x, y] = [column.of(a), column.of(b)];
      if (!known(x) || !known(y)) return known(y) - known(x);
      return sign * (x < y ? -1 : x > y ? 1 : 0);
    });
  }

  function head(column) {
    const isSorted = sorting.column === column.title;
    const button = page.el(
      "button",
      { type: "button", className: "sort" },
      column.title,
      page.el("span", { "aria-hidden": "true" }, isSorted ? (sorting.isFalling ? " ▼" : " ▲") : ""),
    );
    button.addEventListener("click", () => {
      const isFalling = isSorted ? !sorting.isFalling : Boolean(column.isNumber);
      sorting = { column: column.title, isFalling };
      drawTable();
      for (const other of page.$("recalls").querySelectorAll("th button")) {
        if (other.firstChild.data === column.title) other.focus();
      }
    });
    const order = isSorted ? (sorting.isFalling ? "descending" : "ascending") : "none";
    return page.el("th", { scope: "col", "aria-sort": order, className: looks(column) }, button);
  }

  function row(run, shown) {
    const cells = shown.map((column) => {
      const content = column.cell ? column.cell(run) : [String(column.of(run) ?? "–")];
      return page.el("td", { className: looks(column) }, ...content);
    });
    return page.el("tr", {}, ...cells);
  }

  function drawTable() {
    const shown = columns();
    const column = shown.find((one) => one.title === sorting.column);
    page
      .$("recalls")
      .replaceChildren(
        page.el("thead", {}, page.el("tr", {}, ...shown.map(head))),
        page.el("tbody", {}, ...sorted(column).map((run) => row(run, shown))),
      );
    const level = `${Math.round(100 * page.summary.level)} %`;
    const parts = [`Recall in per cent, below it the ${level} confidence interval over locations.`];
    if (page.$("baseline").value) {
      parts.push("Δ is the paired difference in points; it is bold where it is significant.");
    }
    const odd = page.summary.runs.filter((run) => run.incomparable);
    page.$("table-note").textContent = [...parts, ...odd.map((run) => run.incomparable)].join(" ");
  }

  // What the stage second_look says of each run that it looked at.
  function drawSecondLooks() {
    const looked = page.summary.runs.filter((run) => run.second_look);
    page.$("second-looks").hidden = !looked.length;
    if (!looked.length) return;
    const names = page.summary.ns
      .map(page.recallName)
      .filter((name) => looked.some((run) => name in run.second_look.difference));
    const head = ["Run", "Set", "Run", ...names.map((name) => `R@${name.split("@")[1]}`)];
    const rows = looked.map((run) => {
      const [name, set] = [page.runName(run).slice(0, -ADDED.length), setOf(run)];
      return [
        [name, page.el("span", { className: "ends" }, set)],
        [set],
        [name],
        ...names.map((measure) => lookCell(run.second_look, measure)),
      ];
    });
    const shape = (at) => ({ className: ["narrow", "broad", "broad"][at] ?? "number" });
    page
      .$("second-look-table")
      .replaceChildren(
        page.el(
          "thead",
          {},
          page.el(
            "tr",
            {},
            ...head.map((title, at) => page.el("th", { scope: "col", ...shape(at) }, title)),
          ),
        ),
        page.el(
          "tbody",
          {},
          ...rows.map((cells) =>
            page.el("tr", {}, ...cells.map((cell, at) => page.el("td", shape(at), ...cell))),
          ),
        ),
      );
  }

  // What a descriptor of each run costs, as far as it is known.
  function drawCosts() {
    const known = page.summary.runs.filter((run) => Object.keys(run.sizes).length);
    page.$("costs").hidden = !known.length;
    const rows = known.map((run) => [
      ["td", "", page.runName(run), page.el("span", { className: "ends" }, setOf(run))],
      ...COSTS.map(([name, , unit, places]) => ["td", "number", shown(run.sizes[name], unit, places)]),
    ]);
    const head = ["Run", ...COSTS.map(([, title]) => title)];
    const titles = head.map((title, at) =>
      page.el("th", { scope: "col", className: at ? "number" : "" }, title),
    );
    page.$("cost-table").replaceChildren(
      page.el("thead", {}, page.el("tr", {}, ...titles)),
      page.el(
        "tbody",
        {},
        ...rows.map((cells) =>
          page.el(
            "tr",
            {},
            ...cells.map(([tag, className, ...content]) => page.el(tag, { className }, ...content)),
          ),
        ),
      ),
    );
  }

  function shown(value, unit, places) {
    const digits = { minimumFractionDigits: places, maximumFractionDigits: places };
    return value === undefined ? "–" : (value / unit).toLocaleString("en", digits);
  }

  function lookCell({ before, after, difference }, name) {
    const change = difference[name];
    if (!change) return ["–"];
    const [value, ends] = changeParts(change);
    return [
      `${page.percent(before[name])} → ${page.percent(after[name])}`,
      page.el("span", { className: "ends" }, value, ` (${ends})`),
    ];
  }

  function drawCurves() {
    const set = page.$("curves-set").value;
    page.curves.recall(set);
    page.curves.size(set);
  }

  function start() {
    drawLeaks();
    drawSecondLooks();
    drawCosts();
    const names = [...new Set(page.summary.runs.map(page.runName))];
    const sets = page.summary.sets.map((set) => [set.name, set.name]);
    page.options(
      page.$("baseline"),
      [["", "nothing"], ...names.map((name) => [name, name])],
      page.summary.baseline.join("/"),
    );
    page.options(page.$("curves-set"), sets, sets[0][0]);
    const networks = new Set(page.summary.runs.map((run) => run.sizes.network_bytes));
    const kind = networks.size > 1 ? "network_bytes" : "descriptor_bytes";
    page.options(
      page.$("size-kind"),
      [
        ["network_bytes", "network"],
        ["descriptor_bytes", "descriptor"],
      ],
      kind,
    );
    page.$("baseline").addEventListener("change", drawTable);
    page.$("curves-set").addEventListener("change", drawCurves);
    page.$("size-kind").addEventListener("change", drawCurves);
  }

  // Leaks, and runs that were asked for and are not here.
  function drawLeaks() {
    const leaking = page.summary.about.audits.filter((audit) => audit.said.length);
    const lines = leaking.map((audit) => `${audit.evaluated}: LEAK: ${audit.said.join("; ")}`);
    page.$("leaks").replaceChildren(
      ...lines.map((line) => page.el("p", { className: "warning" }, line)),
      ...page.summary.problems.map((line) => page.el("p", { className: "note" }, `${line}.`)),
    );
  }

  function show() {
    drawTable();
    drawCurves();
    page.curves.training();
  }

  return { start, show };
})();
