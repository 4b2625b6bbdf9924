// Curves of recall, of size, and of training.
"use strict";

page.recallName = (n) => `recall@${n}`;

page.curves = (() => {
  function recall(set) {
    const runs = page.runsOf(set);
    const rows = runs.map((run) =>
      page.summary.ns
        .filter((n) => page.recallName(n) in run.metrics)
        .map((n) => [n, 100 * run.metrics[page.recallName(n)]]),
    );
    const ns = page.summary.ns;
    page.chart(page.$("recall-chart"), () => ({
      options: {
        scales: {
          x: { time: false, distr: 3, range: [ns[0] * 0.9, ns[ns.length - 1] * 1.1] },
          y: { range: page.recallRange(rows) },
        },
        axes: [
          {
            label: "N results",
            values: () => ns.map(String),
            splits: () => ns,
            filter: (_, all) => all,
          },
          page.percentAxis("recall@N"),
        ],
        series: [{}, ...runs.map((_, number) => page.lineStyle(number))],
      },
      data: page.aligned(rows),
      label: `Recall of the runs on ${set} by number of results; the table has the numbers`,
      legend: runs.map((run, number) => ({
        text: page.runName(run),
        style: page.lineStyle(number),
      })),
    }));
  }

  function size(set) {
    const kind = page.$("size-kind").value;
    const every = page.runsOf(set);
    const runs = every.filter((run) => kind in run.sizes);
    const scale = kind === "network_bytes" ? 1e6 : 1;
    const first = page.recallName(page.summary.ns[0]);
    const label = kind === "network_bytes" ? "MB of the network's file" : "bytes of a descriptor";
    const point = (number) => {
      const { stroke } = page.lineStyle(every.indexOf(runs[number]));
      return { stroke, paths: () => null, points: { show: true, size: 11, fill: stroke } };
    };
    page.$("size-figure").hidden = runs.length < 2;
    if (runs.length < 2) return;
    const rows = runs.map((run) => [[run.sizes[kind] / scale, 100 * run.metrics[first]]]);
    const xs = rows.map(([[x]]) => x);
    const [least, most] = [Math.min(...xs), Math.max(...xs)];
    page.chart(page.$("size-chart"), () => ({
      options: {
        scales: {
          x: { time: false, range: [least * 0.9, most * 1.1] },
          y: { range: page.recallRange(rows) },
        },
        axes: [{ label }, page.percentAxis(first)],
        series: [{}, ...runs.map((_, number) => point(number))],
      },
      data: page.aligned(rows),
      label: `Size and ${first} of the runs on ${set}`,
      legend: runs.map((run, number) => ({
        text: `${page.runName(run)}: ${rows[number][0][0].toLocaleString("en", { maximumFractionDigits: 1 })}`,
        style: point(number),
      })),
    }));
  }

  function training() {
    const log = page.summary.about.training;
    const draw = (id, names, scale, axis, range) => {
      const rows = names.map((name) =>
        log.filter((row) => row[name] != null).map((row) => [row.epoch, scale * row[name]]),
      );
      page.$(`${id}-figure`).hidden = !rows.some((row) => row.length);
      if (page.$(`${id}-figure`).hidden) return;
      page.chart(page.$(`${id}-chart`), () => ({
        options: {
          scales: { x: { time: false }, y: { range: range(rows) } },
          axes: [{ label: "epoch", incrs: [1, 2, 5, 10, 20, 50, 100] }, axis],
          series: [{}, ...names.map((_, number) => page.lineStyle(number))],
        },
        data: page.aligned(rows),
        label: `${names.join(" and ")} by epoch`,
        legend: names.map((name, number) => ({ text: name, style: page.lineStyle(number) })),
      }));
    };
    const fromZero = (rows) => [0, 1.1 * Math.max(...rows.flat().map(([, y]) => y))];
    draw("loss", ["loss"], 1, { label: "loss", size: 62 }, fromZero);
    draw("epochs", ["recall@1", "recall@5"], 100, page.percentAxis("recall"), page.recallRange);
  }

  return { recall, size, training };
})();
