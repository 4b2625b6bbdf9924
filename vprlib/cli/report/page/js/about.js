// What was run: revision, versions, parameters, leaks, and images that were left out.
"use strict";

page.views.about = (() => {
  const NOT_RUN = ["not run here", "", ""];

  const part = (title, ...content) =>
    page.el("section", { className: "part" }, page.el("h2", {}, title), ...content);

  const pairs = (entries) =>
    page.el(
      "dl",
      {},
      ...entries.flatMap(([name, value]) => [
        page.el("dt", {}, name),
        page.el("dd", {}, String(value ?? "unknown")),
      ]),
    );

  const table = (label, head, rows) =>
    page.el(
      "div",
      { className: "scroll", tabIndex: 0, role: "region", "aria-label": label },
      page.el(
        "table",
        {},
        page.el(
          "thead",
          {},
          page.el("tr", {}, ...head.map((cell) => page.el("th", { scope: "col" }, cell))),
        ),
        page.el(
          "tbody",
          {},
          ...rows.map((row) =>
            page.el("tr", {}, ...row.map((cell) => page.el("td", {}, String(cell)))),
          ),
        ),
      ),
    );

  const more = (title, text) =>
    page.el("details", {}, page.el("summary", {}, title), page.el("pre", { tabIndex: 0 }, text));

  function revision({ git }) {
    if (!git) return [page.el("p", {}, "The project is in no git repository.")];
    const changed = git.changed
      ? `${page.plural(git.changed, "tracked file")} changed since`
      : "nothing has changed since";
    return [
      pairs([
        ["Commit", git.revision],
        ["Date", git.date],
        ["Subject", git.subject],
        ["Workspace", changed],
      ]),
    ];
  }

  function parameters({ params, changes }) {
    const text =
      changes === null
        ? "No params.yaml is committed to compare with."
        : changes.length
          ? "Different from the committed params.yaml:"
          : "As committed.";
    const found = [page.el("p", {}, text)];
    if (changes?.length)
      found.push(table("Changed parameters", ["parameter", "committed", "here"], changes));
    return [...found, more("params.yaml", params)];
  }

  function stages(all) {
    if (!all.length) return [page.el("p", {}, "No stage has run.")];
    const rows = all.map(({ name, run }) => [
      name,
      ...(run ? [page.seconds(run.seconds), page.clock(run.started), run.processor] : NOT_RUN),
    ]);
    const sum = all.reduce((total, { run }) => total + (run?.seconds ?? 0), 0);
    return [
      page.el(
        "p",
        {},
        `The last run of each stage, without the start of Python: ${page.seconds(sum)} in all. ` +
          "What was not run here came from DVC's cache or from another copy of the project.",
      ),
      table("Stages", ["stage", "time", "started", "processor"], rows),
    ];
  }

  function otherRevision({ name, git, params }) {
    const commit = git
      ? [
          ["Commit", git.revision],
          ["Date", git.date],
          ["Subject", git.subject],
        ]
      : [["Commit", null]];
    const found = [page.el("h3", {}, name), pairs(commit)];
    if (!params.length) return [...found, page.el("p", {}, "Its parameters are those used here.")];
    return [...found, table(`Parameters of ${name}`, ["parameter", "here", name], params)];
  }

  function audit(found) {
    const said = [...found.said, ...found.remarks];
    const text = found.said.length
      ? `LEAK: ${found.said.join("; ")}`
      : `Nothing of ${found.evaluated} leaks from ${found.train}.`;
    const counts = found.with_train ?? {};
    const rows = Object.entries(counts).map(([name, value]) => [
      page.words(name),
      value ?? "unknown",
    ]);
    return page.el(
      "div",
      {},
      page.el("h3", {}, found.evaluated),
      page.el("p", { className: found.said.length ? "warning" : "" }, text),
      ...(said.length > found.said.length
        ? [page.el("p", { className: "note" }, found.remarks.join("; "))]
        : []),
      page.el(
        "details",
        {},
        page.el("summary", {}, `Counts against ${found.train}`),
        table(`Audit of ${found.evaluated}`, ["kind", "images"], rows),
      ),
    );
  }

  function start() {
    const { about, made } = page.summary;
    const sets = Object.entries(about.sets).map(([name, facts]) => [
      name,
      facts.database,
      facts.queries,
      facts.positive_radius_m ?? "by lists",
      facts.queries_without_positive,
    ]);
    const left = about.left_out.map((list) =>
      more(
        `${list.name}: ${list.count}`,
        list.lines.join("\n") +
          (list.count > list.lines.length ? `\n… and ${list.count - list.lines.length} more` : ""),
      ),
    );
    page
      .$("facts-of-run")
      .replaceChildren(
        part(
          "Code",
          ...revision(about),
          pairs([["Page made", page.date(made)], ...Object.entries(about.versions)]),
        ),
        part("Parameters", ...parameters(about)),
        ...(page.summary.revisions.length
          ? [part("Other revisions", ...page.summary.revisions.flatMap(otherRevision))]
          : []),
        part(
          "Sets",
          table(
            "Sets",
            ["set", "database images", "queries", "radius (m)", "queries without a right image"],
            sets,
          ),
        ),
        part(
          "Leaks from training",
          ...(about.audits.length
            ? about.audits.map(audit)
            : [page.el("p", {}, "No audit has run.")]),
        ),
        part("Time", ...stages(about.stages)),
        part("Images left out", ...(left.length ? left : [page.el("p", {}, "None.")])),
      );
  }

  return { start, show() {} };
})();
