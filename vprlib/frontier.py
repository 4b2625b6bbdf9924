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
LINE = 0.16  # inches of a name below
CORNERS = ((6, 6), (6, -14), (-11, 6), (-11, -14))  # where numbers stand: neighbours may be near


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
    """A panel a cost; the points of the front are joined, and named below by their numbers."""
    fronts = [front(points) for points in panels.values()]
    size = (6 * len(panels), 5 + LINE * max(map(len, fronts)))
    figure = Figure(figsize=size, dpi=110, layout="constrained")
    every = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (cost, points), best in zip(every, panels.items(), fronts, strict=True):
        for point in points:
            ends = [[point.gain - point.low], [point.high - point.gain]]
            color = "tab:blue" if point in best else "tab:gray"
            axes.errorbar([point.cost], [point.gain], ends, fmt="o", color=color, alpha=0.7)
        axes.plot([p.cost for p in best], [p.gain for p in best], drawstyle="steps-post")
        for number, point in enumerate(best):
            where = {"textcoords": "offset points", "xytext": CORNERS[number % len(CORNERS)]}
            axes.annotate(str(number + 1), (point.cost, point.gain), fontsize=9, **where)
        _scale(axes, [point.cost for point in points])
        names = "\n".join(f"{number}: {point.name}" for number, point in enumerate(best, 1))
        axes.set(xlabel=f"{cost}\n\n{names}", ylabel=gain)
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
