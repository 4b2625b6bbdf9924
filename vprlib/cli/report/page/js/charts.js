// Curves, drawn by uPlot in the colours of the page.
"use strict";

const LINES = ["line-1", "line-2", "line-3", "line-4", "line-5", "line-6", "line-7"];
const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3]];
const drawn = new Map(); // holder → what draws it anew

page.lineStyle = (number) => ({
  stroke: page.colour(LINES[number % LINES.length]),
  dash: DASHES[Math.floor(number / 2) % DASHES.length],
  width: 2,
  points: { show: true, size: 6 },
});

// Puts a chart into a holder; `make` gives uPlot's options and data, and is called again when the
// width or the colours change.
page.chart = (holder, make) => {
  drawn.get(holder)?.chart.destroy();
  const { options, data, label, legend } = make();
  const grid = { stroke: page.colour("rule"), width: 1 };
  const axis = { stroke: page.colour("ink"), grid, ticks: grid, font: "12px system-ui" };
  const size = { width: Math.max(240, holder.clientWidth), height: options.height ?? 260 };
  holder.replaceChildren();
  const chart = new uPlot(
    {
      legend: { show: false },
      ...size,
      ...options,
      axes: options.axes.map((one) => ({
        labelFont: "12px system-ui",
        labelSize: 20,
        ...axis,
        ...one,
      })),
    },
    data,
    holder,
  );
  chart.root.setAttribute("role", "img");
  chart.root.setAttribute("aria-label", label);
  if (legend) holder.append(page.legend(legend));
  drawn.set(holder, { chart, make });
  return chart;
};

page.redrawCharts = () => {
  for (const [holder, { make }] of drawn) {
    if (holder.offsetParent !== null) page.chart(holder, make);
  }
};

// Names of lines, each beside a piece of its line.
page.legend = (lines) => {
  const items = lines.map(({ text, style }) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
    svg.setAttribute("viewBox", "0 0 28 8");
    svg.setAttribute("class", "stroke");
    svg.setAttribute("aria-hidden", "true");
    line.setAttribute("d", "M0 4H28");
    line.setAttribute("stroke", style.stroke);
    line.setAttribute("stroke-dasharray", (style.dash ?? []).join(" "));
    svg.append(line);
    return page.el("li", {}, svg, text);
  });
  return page.el("ul", { className: "lines" }, ...items);
};

const asPercent = (_, values) => values.map((value) => `${value} %`);

page.percentAxis = (label) => ({ label, values: asPercent, size: 56 });

// The y axis of recalls: from a whole ten below the least to 100 %.
page.recallRange = (rows) => {
  const least = Math.min(100, ...rows.flat().map(([, y]) => y));
  return [Math.max(0, Math.min(90, 10 * Math.floor(least / 10)) - 1), 101];
};

// Numbers of several rows on one x axis: the sorted union, and each row with gaps as null.
page.aligned = (rows) => {
  const xs = [...new Set(rows.flatMap((row) => row.map(([x]) => x)))].sort((a, b) => a - b);
  const columns = rows.map((row) => {
    const known = new Map(row);
    return xs.map((x) => known.get(x) ?? null);
  });
  return [xs, ...columns];
};
