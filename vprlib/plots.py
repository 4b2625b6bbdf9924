"""Pictures of results as PNG, since DVC's own plot page is blank without a network."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

LABELLED = 8  # numbers beside one another that a curve has room for


def recall_curve(
    curve: Sequence[tuple[int, float]], ends: Sequence[tuple[float, float]], title: str
) -> bytes:
    """Recall@N against N, labelled with its values, on the band of its intervals."""
    ns, recalls = zip(*curve, strict=True)
    figure = Figure(figsize=(5, 3.6), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    spread = [min(ns, key=lambda n: abs(n - at)) for at in np.linspace(ns[0], ns[-1], LABELLED)]
    shown = ns if len(ns) <= LABELLED else sorted(set(spread))
    low, high = (100 * np.transpose(ends)).tolist()
    axes.fill_between(ns, low, high, alpha=0.2, linewidth=0)
    axes.vlines(ns, low, high, alpha=0.4)  # one N alone has no band
    axes.plot(ns, [100 * r for r in recalls], marker="o" if shown is ns else ".")
    for n, r, top in zip(ns, recalls, high, strict=True):
        if n in shown:
            where = {"textcoords": "offset points", "xytext": (0, 4), "ha": "center"}
            axes.annotate(f"{100 * r:.1f}", (n, top), **where)
    axes.margins(x=0.08)  # so that no label leaves the frame
    axes.set(xlabel="N", ylabel="Recall@N (%)", title=title, ylim=(0, 110), xticks=list(shown))
    axes.grid(alpha=0.3)
    return _png(figure)


def training_curves(
    epochs: Sequence[int], losses: Sequence[float | None], recalls: dict[str, Sequence[float]]
) -> bytes:
    """Loss on the left, validation recall on the right, both by epoch."""
    figure = Figure(figsize=(8, 3.6), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2)
    known = [(e, loss) for e, loss in zip(epochs, losses, strict=True) if loss is not None]
    left.plot([e for e, _ in known], [loss for _, loss in known], marker="o")
    left.set(xlabel="epoch", ylabel="triplet loss", title="training")
    for name, values in recalls.items():
        right.plot(epochs, [100 * v for v in values], marker="o", label=name)
    right.set(xlabel="epoch", ylabel="recall (%)", title="validation", ylim=(0, 105))
    right.legend()
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
    return _png(figure)


def search_curves(curves: Mapping[str, Sequence[tuple[float, float, str]]], title: str) -> bytes:
    """Recall against exact search over milliseconds a query; a point is (ms, share, label)."""
    figure = Figure(figsize=(7, 4.2), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for name, points in curves.items():
        line = axes.plot(
            [ms for ms, _, _ in points], [100 * share for _, share, _ in points], "o-", label=name
        )
        for ms, share, label in points:
            where = {"textcoords": "offset points", "xytext": (4, -9), "fontsize": 7}
            axes.annotate(label, (ms, 100 * share), color=line[0].get_color(), **where)
    axes.set(
        xlabel="ms a query",
        ylabel="nearest image that of exact search (%)",
        title=title,
        xscale="log",
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return _png(figure)


def picture(pixels: np.ndarray) -> bytes:
    """An RGB array [H, W, 3] as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()
