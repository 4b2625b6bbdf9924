"""Gain against cost as a picture, and which points no other beats in both."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

# times the least cost: below the first an axis of factors would have too few ticks, and above
# the second too many
NARROW, WIDE = 5, 200


@dataclass(frozen=True)
class Point:
    name: str
    cost: float
    gain: float
    low: float  # ends of the gain's interval
    high: float


def front(points: Sequence[Point]) -> list[Point]:
    """By rising cost, those that gain more than all that cost as little or less."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda p: (p.cost, -p.gain)):
        if not kept or point.gain > kept[-1].gain:
            kept.append(point)
    return kept


def picture(panels: Mapping[str, Sequence[Point]], gain: str) -> bytes:
    """A panel a cost; the points of the front are named and joined."""
    figure = Figure(figsize=(6 * len(panels), 5), dpi=110, layout="constrained")
    every = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (cost, points) in zip(every, panels.items(), strict=True):
        best = front(points)
        for point in points:
            ends = [[point.gain - point.low], [point.high - point.gain]]
            color = "tab:blue" if point in best else "tab:gray"
            axes.errorbar([point.cost], [point.gain], ends, fmt="o", color=color, alpha=0.7)
        axes.plot([p.cost for p in best], [p.gain for p in best], drawstyle="steps-post")
        for number, point in enumerate(best):
            where = {"textcoords": "offset points", "xytext": (6, 6 if number % 2 else -14)}
            axes.annotate(point.name, (point.cost, point.gain), fontsize=8, **where)
        _scale(axes, [point.cost for point in points])
        axes.set(xlabel=cost, ylabel=gain)
        axes.margins(x=0.25)
        axes.grid(alpha=0.3)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


def _scale(axes: Axes, costs: Sequence[float]) -> None:
    spread = max(costs) / min(costs)
    if spread < NARROW:
        return
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if spread < WIDE else (1,)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
