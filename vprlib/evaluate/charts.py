"""Plots of results as PNG, since DVC's own plot page is blank without a network."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from vprlib.pipeline.arrays import figure_png
from vprlib.pipeline.params import JsonObject

LABELLED = 8  # numbers that fit along a curve
# colour and size of a category; sizes differ, so that queries at one position all stay visible
DOTS = {
    "correct": ("#a9c6b2", 70),
    "lower_rank": ("#3b7ea1", 42),
    "near_miss": ("#e3b23c", 24),
    "far": ("#c2452d", 16),
    "unanswerable": ("#22252b", 9),
    "nothing_found": ("#8a8f98", 9),
}
# by precision; hollow and of different sizes, since thresholds may coincide
MARKERS = ("o", "s", "D", "^", "v")


def precision_recall(
    curve: Sequence[Sequence[float]],
    name: str,
    calibration: Sequence[Sequence[float]],
    calibrated_on: str,
    points: Mapping[str, tuple[float, float]],
    title: str,
) -> bytes:
    """A set's curve, the calibration's curve, and what its thresholds give on this set.

    Rows of curves begin with recall and precision; `points` has these two by target precision.
    """
    figure = Figure(figsize=(6, 4.2), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    curves = [(calibrated_on, calibration, "#b7b2a6"), (name, curve, "#3b7ea1")]
    for label, rows, colour in curves[calibrated_on == name :]:
        if rows:
            axes.plot(*np.array([row[:2] for row in rows]).T * 100, color=colour, label=label)
    for place, (target, (recall, precision)) in enumerate(points.items()):
        marker, size = MARKERS[place % len(MARKERS)], 4 + 4 * (len(points) - 1 - place)
        look: JsonObject = {"color": "#c2452d", "markersize": size, "fillstyle": "none"}
        at = 100 * recall, 100 * precision
        axes.plot(*at, marker, linestyle="", label=f"threshold for {target} %", **look)
    axes.set(xlabel="recall (%)", ylabel="precision (%)", title=title, xlim=(0, 100), ylim=(0, 104))
    if axes.has_data():
        axes.legend(fontsize=8, loc="lower left")
    else:
        axes.text(50, 50, "no query, so nothing is known", ha="center")
    axes.grid(alpha=0.3)
    return figure_png(figure)


def plan(database: np.ndarray, queries: np.ndarray, names: Sequence[str], title: str) -> bytes:
    """A map of positions [D, 2] and [Q, 2] in metres, queries by category."""
    figure = Figure(figsize=(8, 5.5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    both = np.concatenate([database, queries])
    if np.isfinite(both).any():
        corner = np.nanmin(both, axis=0)
        x, y = (database - corner).T
        axes.scatter(x, y, s=4, color="#dcd8cd", label="database")
        for name, (colour, size) in DOTS.items():
            at = queries[np.array(names) == name] - corner
            if len(at):
                label = f"{name.replace('_', ' ')} ({len(at)})"
                axes.scatter(at[:, 0], at[:, 1], s=size, color=colour, linewidths=0, label=label)
        axes.set_aspect("equal", adjustable="datalim")
        figure.legend(fontsize=9, loc="outside right upper")
    else:
        axes.text(0.5, 0.5, "this set has no positions", ha="center", transform=axes.transAxes)
    axes.set(xlabel="metres", ylabel="metres", title=title)
    return figure_png(figure)


def recall_curve(
    curve: Sequence[tuple[int, float]], ends: Sequence[tuple[float, float]], title: str
) -> bytes:
    """Recall@N over N with its values and the band of its intervals."""
    figure = Figure(figsize=(5, 3.6), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    if not curve:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no query, so nothing is known", ha="center")
        return figure_png(figure)
    ns, recalls = zip(*curve, strict=True)
    spread = [min(ns, key=lambda n: abs(n - at)) for at in np.linspace(ns[0], ns[-1], LABELLED)]
    shown = ns if len(ns) <= LABELLED else sorted(set(spread))
    low, high = (100 * np.transpose(ends)).tolist()
    axes.fill_between(ns, low, high, alpha=0.2, linewidth=0)
    axes.vlines(ns, low, high, alpha=0.4)  # one N alone has no band
    axes.plot(ns, [100 * r for r in recalls], marker="o" if shown is ns else ".")
    for n, r, top in zip(ns, recalls, high, strict=True):
        if n in shown:
            text = f"{100 * r:.1f}"
            axes.annotate(text, (n, top), (0, 4), textcoords="offset points", ha="center")
    axes.margins(x=0.08)  # so that no label leaves the frame
    axes.set(xlabel="N", ylabel="Recall@N (%)", title=title, ylim=(0, 110), xticks=list(shown))
    axes.grid(alpha=0.3)
    return figure_png(figure)


def search_curves(curves: Mapping[str, Sequence[tuple[float, float, str]]], title: str) -> bytes:
    """Agreement with exact search over milliseconds per query; a point is (ms, share, label)."""
    figure = Figure(figsize=(7, 4.2), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for name, points in curves.items():
        line = axes.plot(
            [ms for ms, _, _ in points], [100 * share for _, share, _ in points], "o-", label=name
        )
        for ms, share, label in points:
            at, colour = (ms, 100 * share), line[0].get_color()
            axes.annotate(label, at, (4, -9), textcoords="offset points", fontsize=7, color=colour)
    axes.set(
        xlabel="ms a query",
        ylabel="nearest image that of exact search (%)",
        title=title,
        xscale="log",
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure_png(figure)
