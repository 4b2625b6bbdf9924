// The threshold of the score: which queries are answered, and how often rightly.
"use strict";

page.trust = (() => {
  const POINTS = 400; // of the curve
  let data = null;
  let threshold = -Infinity;
  let rising = []; // scores
  let curve = [];
  let onChange = null;

  const isAnswered = (query) => !data.answers.scores || data.answers.scores[query] >= threshold;

  const isRight = (query) => data.answers.hits[query * data.answers.columns];

  // How many queries are answered, and how many of them rightly.
  function counted() {
    const { answers, set } = data;
    const found = { answered: 0, right: 0, rightAnswerable: 0, answerable: 0 };
    for (let query = 0; query < set.count; query++) {
      found.answerable += answers.answerable[query];
      if (!isAnswered(query) || answers.rows[query * answers.columns] < 0) continue;
      found.answered += 1;
      found.right += isRight(query);
      found.rightAnswerable += isRight(query) & answers.answerable[query];
    }
    return found;
  }

  // Recall and precision in per cent as the threshold falls; equal scores share a point.
  function precisionCurve() {
    const { scores, answerable } = data.answers;
    const order = Array.from(scores.keys()).filter((query) => Number.isFinite(scores[query]));
    order.sort((a, b) => scores[b] - scores[a]);
    const total = Math.max(
      1,
      answerable.reduce((sum, one) => sum + one, 0),
    );
    const points = [];
    let right = 0;
    order.forEach((query, at) => {
      right += isRight(query);
      const isLast = at + 1 === order.length || scores[order[at + 1]] < scores[query];
      if (isLast) points.push([(100 * right) / total, (100 * right) / (at + 1)]);
    });
    return points;
  }

  function change(value) {
    threshold = value;
    draw();
    onChange();
  }

  function toThreshold(value) {
    const below = rising.findIndex((score) => score >= value);
    page.$("threshold").value = below < 0 ? rising.length : below;
    change(value);
  }

  function toSlider() {
    const at = Number(page.$("threshold").value);
    change(at === 0 ? -Infinity : at >= rising.length ? Infinity : rising[at]);
  }

  function button(text, value) {
    const made = page.el("button", { type: "button", className: "quiet" }, text);
    made.addEventListener("click", () => toThreshold(value));
    return made;
  }

  function draw() {
    const { answered, right, rightAnswerable, answerable } = counted();
    const share = (a, b) => (b ? `${page.percent(a / b)}\u00a0%` : "–");
    const from =
      threshold === -Infinity ? "No threshold" : `Score at least ${page.score(threshold)}`;
    const said =
      `${from}: ${answered} of ${data.set.count} answered, ` +
      `precision ${share(right, answered)}, recall ${share(rightAnswerable, answerable)}`;
    page.$("answered").textContent = said;
    page.$("threshold").setAttribute("aria-valuetext", said);
    const here = [rightAnswerable / Math.max(1, answerable), right / Math.max(1, answered)];
    drawCurve(here.map((value) => 100 * value));
  }

  const drawCurve = page.eachFrameWith((here) => {
    if (!page.$("precision-chart").offsetParent) return;
    page.chart(page.$("precision-chart"), () => ({
      options: {
        height: 170,
        scales: {
          x: { time: false, range: [0, 100] },
          y: { range: page.recallRange([curve, [here]]) },
        },
        axes: [{ ...page.percentAxis("recall"), size: 46 }, page.percentAxis("precision")],
        series: [{}, { ...page.lineStyle(0), points: { show: false } }, circle()],
      },
      data: curveWith(here),
      label: "Precision by recall; the circle is at the threshold",
    }));
  });

  const circle = () => ({
    stroke: page.colour("far"),
    paths: () => null,
    points: { show: true, size: 12, width: 3, fill: page.colour("paper") },
  });

  // uPlot wants one value for each x, so the point of the threshold is a row of its own.
  function curveWith(here) {
    const step = Math.max(1, Math.floor(curve.length / POINTS));
    const kept = curve.filter((_, at) => at % step === 0 || at === curve.length - 1);
    const points = [...kept.map(([x, y]) => [x, y, null]), [here[0], null, here[1]]];
    points.sort((a, b) => a[0] - b[0]);
    points.forEach((point, at) => {
      point[1] ??= points[at - 1]?.[1] ?? points[at + 1]?.[1] ?? null;
    });
    return [0, 1, 2].map((column) => points.map((point) => point[column]));
  }

  function show(newData) {
    data = newData;
    threshold = -Infinity;
    const { scores } = data.answers;
    page.$("trust").hidden = !scores;
    page.$("no-trust").hidden = Boolean(scores);
    if (!scores) return;
    rising = scores.filter(Number.isFinite).sort();
    curve = precisionCurve();
    page.$("threshold").max = rising.length;
    page.$("threshold").value = 0;
    const known = Object.entries(data.run.thresholds).filter(([, value]) => value !== null);
    const named = known.map(([share, value]) =>
      button(`${share} % right on ${data.run.calibrated_on}`, value),
    );
    page.$("targets").replaceChildren(button("All answers", -Infinity), ...named);
    draw();
  }

  function start(listener) {
    onChange = listener;
    page.$("threshold").addEventListener("input", toSlider);
  }

  return { start, show, isAnswered };
})();
