"""Charts of what can be trusted: precision against recall, and failures on a plan."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# colour and size of a category: queries of one spot lie on each other, and each is to be seen
DOTS = {
    "correct": ("#a9c6b2", 70),
    "lower_rank": ("#3b7ea1", 42),
    "near_miss": ("#e3b23c", 24),
    "far": ("#c2452d", 16),
    "unanswerable": ("#22252b", 9),
    "nothing_found": ("#8a8f98", 9),
}
# from the first precision asked for to the last, the larger ones hollow: thresholds may coincide
MARKERS = ("o", "s", "D", "^", "v")


def precision_recall(
    curve: Sequence[Sequence[float]],
    name: str,
    calibration: Sequence[Sequence[float]],
    calibrated_on: str,
    points: Mapping[str, tuple[float, float]],
    title: str,
) -> bytes:
    """A set's curve, the calibration's beside it, and where its thresholds come to lie here.

    Curves begin with recall and precision; `points` are these two by the precision asked for.
    """
    figure = Figure(figsize=(6, 4.2), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    curves = [(calibrated_on, calibration, "#b7b2a6"), (name, curve, "#3b7ea1")]
    for label, rows, colour in curves[calibrated_on == name :]:
        axes.plot(*np.array([row[:2] for row in rows]).T * 100, color=colour, label=label)
    for place, (asked, (recall, precision)) in enumerate(points.items()):
        marker, size = MARKERS[place % len(MARKERS)], 4 + 4 * (len(points) - 1 - place)
        look = {"color": "#c2452d", "markersize": size, "fillstyle": "none"}
        at = 100 * recall, 100 * precision
        axes.plot(*at, marker, linestyle="", label=f"threshold for {asked} %", **look)
    axes.set(xlabel="recall (%)", ylabel="precision (%)", title=title, xlim=(0, 100), ylim=(0, 104))
    axes.legend(fontsize=8, loc="lower left")
    axes.grid(alpha=0.3)
    return _png(figure)


def plan(database: np.ndarray, queries: np.ndarray, names: Sequence[str], title: str) -> bytes:
    """Positions [D, 2] and [Q, 2] in metres from their corner, by category."""
    figure = Figure(figsize=(8, 5.5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    both = np.concatenate([database, queries])
    if np.isfinite(both).any():
        corner = np.nanmin(both, axis=0)
        axes.scatter(*(database - corner).T, s=4, color="#dcd8cd", label="database")
        for name, (colour, size) in DOTS.items():
            at = queries[np.array(names) == name] - corner
            if len(at):
                label = f"{name.replace('_', ' ')} ({len(at)})"
                axes.scatter(*at.T, s=size, color=colour, linewidths=0, label=label)
        axes.set_aspect("equal", adjustable="datalim")
        figure.legend(fontsize=9, loc="outside right upper")
    else:
        axes.text(0.5, 0.5, "this set has no positions", ha="center", transform=axes.transAxes)
    axes.set(xlabel="metres", ylabel="metres", title=title)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()
