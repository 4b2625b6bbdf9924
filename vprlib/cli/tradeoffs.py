"""Recall, size and speed of every variant and code: the command `vpr tradeoffs`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from vprlib.cli import options, output
from vprlib.cli.choice import Choice, choose
from vprlib.cli.comparison.runs import Run, RunSpec, read_run
from vprlib.cli.costs import BATCHES, Cost, measured_in_rounds
from vprlib.descriptors.quantisers import bytes_a_row
from vprlib.evaluate.intervals import (
    CompareSettings,
    IntervalSettings,
    difference_interval,
    with_ends,
)
from vprlib.evaluate.recall import RecallSettings
from vprlib.images.batches import ImageSource
from vprlib.images.decode import ImageSettings
from vprlib.images.index import ImageIndex, read_index
from vprlib.pipeline import paths
from vprlib.pipeline.arrays import figure_png
from vprlib.pipeline.artifacts import write_bytes, write_json, write_text
from vprlib.pipeline.params import PARAMS_PATH, At, JsonObject, Names, StageParams, UserError
from vprlib.pipeline.runtime import RuntimeSettings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# ratios of the largest to the least cost: from NARROW on the axis is logarithmic, from WIDE on
# only powers of ten get a tick
NARROW, WIDE = 5, 200
LINE = 0.16  # inches per name below a panel
CORNERS = ((6, 6), (6, -14), (-11, 6), (-11, -14))  # offsets of labels, so that few overlap


@dataclass(frozen=True)
class Point:
    name: str
    cost: float
    gain: float
    low: float  # ends of the gain's interval
    high: float


def front(points: Sequence[Point]) -> list[Point]:
    """The Pareto front by rising cost: points that gain more than all cheaper ones."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda p: (p.cost, -p.gain)):
        if not kept or point.gain > kept[-1].gain:
            kept.append(point)
    return kept


def picture(panels: Mapping[str, Sequence[Point]], gain: str) -> bytes:
    """A PNG with a panel for each cost; points of the front are joined, numbered and named."""
    from matplotlib.figure import Figure

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
    return figure_png(figure)


def _scale(axes: "Axes", costs: Sequence[float]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    spread = max(costs) / min(costs)
    if spread < NARROW:
        return
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if spread < WIDE else (1,)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


Row = JsonObject


class Params(StageParams):
    variants: Annotated[Names, At("variants")]
    codes: Annotated[Names, At("codes")]
    images: Annotated[ImageSettings, At("datasets.{dataset}.images")]
    recall: Annotated[RecallSettings, At("recall")]
    interval: Annotated[IntervalSettings, At("interval")]
    compare: Annotated[CompareSettings, At("compare")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


def recalls(run: Run, full: Run, p: Params) -> Row:
    """Recall at each N, and its difference from the full model, both with intervals."""
    row: Row = {}
    place = run.locations(p.interval.location_m)[run.counted]
    for n in p.recall.ns:
        found, before = run.found(n)[run.counted], full.found(n)[full.counted]
        row |= with_ends(f"recall@{n}", found, place, p.interval)
        change = difference_interval(before, found, place, p.interval, p.compare)
        row[f"difference@{n}"] = asdict(change)
    return row


def sizes(choice: Choice, images: int) -> Row:
    """Parameters and bytes of network and whitening, and bytes of a descriptor on disk."""
    from safetensors import safe_open

    from vprlib.model.packing import KEPT

    with safe_open(choice.model_path, "np") as file:
        # zeros that the file leaves out do not count
        kept = [n for n in file.keys() if not n.endswith(KEPT)]  # noqa: SIM118
        shapes = [file.get_slice(name).get_shape() for name in kept]
        steps = json.loads(file.metadata()["header"])["history"].get("steps", [])
    if kept == ["onnx"] and steps:  # one tensor of bytes, made of so many weights
        shapes = [[steps[-1]["weights"]]]
    whitening, coder = choice.whitening(), choice.coder_path
    coder_bytes = coder.stat().st_size if coder is not None and whitening else 0
    with choice.descriptors("db", images) as stored:
        descriptor_bytes = bytes_a_row(stored)
    return {
        "parameters": sum(int(np.prod(shape)) for shape in shapes)
        + sum(values.size for values in whitening.values()),
        "file_bytes": choice.model_path.stat().st_size + coder_bytes,
        "descriptor_bytes": descriptor_bytes,
    }


def speeds(costs: Sequence[Cost], coder: Path | None) -> Row:
    """Milliseconds per image of network and code together, and peak memory."""
    row: Row = {}
    for cost in costs:
        coding = cost.coding_ms[str(coder)] if coder is not None else {}
        for threads, network_ms in cost.network_ms.items():
            name = f"ms_per_image_batch_{cost.batch}_threads_{threads}"
            row[name] = network_ms + coding.get(threads, 0.0)
        row[f"peak_bytes_batch_{cost.batch}"] = cost.peak_bytes
    first = costs[0]
    fastest = f"ms_per_image_batch_{first.batch}_threads_{max(first.network_ms)}"
    return {"ms_per_image": row[fastest], "peak_bytes": first.peak_bytes, **row}


def commonest_size(index: ImageIndex, settings: ImageSettings) -> tuple[int, int]:
    """The most common width and height of the network's inputs."""
    sizes = ImageSource(index, paths.RAW, settings).sizes()
    found, counts = np.unique(sizes, axis=0, return_counts=True)
    width, height = found[counts.argmax()].tolist()
    return width, height


def measured_rows(full: Choice, index: ImageIndex, threads: Sequence[int], p: Params) -> list[Row]:
    """A row for each variant and code; the others are compared with `full`."""
    from vprlib.pipeline.runtime import processor_name

    size = commonest_size(index, p.images)
    choices = {v: [Choice(full.dataset, v, c) for c in p.codes] for v in p.variants}
    every = [choice for of_variant in choices.values() for choice in of_variant]
    found = {c: read_run(RunSpec(None, c.variant, c.code), c.dataset) for c in every}
    networks = {
        of[0].model_path: [c.coder_path for c in of if c.coder_path is not None]
        for of in choices.values()
    }
    exports = [choice.onnx_path for choice in every if choice.onnx_path.exists()]
    costs = measured_in_rounds(networks | {path: [] for path in exports}, size, threads)
    exported = {e: {"file_bytes": e.stat().st_size, **speeds(costs[e], None)} for e in exports}
    return [
        {
            "variant": choice.variant,
            "code": choice.code,
            "set": choice.dataset,
            "queries": int(run.counted.sum()),
            "against": f"{full.variant}/{full.code}",
            **recalls(run, found[full], p),
            **sizes(choice, len(index)),
            **speeds(costs[choice.model_path], choice.coder_path),
            "onnx": exported.get(choice.onnx_path),
            "image_size": list(size),
            "machine": processor_name(),
        }
        for choice, run in found.items()
    ]


def table(rows: Sequence[Row], ns: Sequence[int], threads: int) -> str:
    """The rows as a Markdown table."""
    batches = [(batch, count) for batch in BATCHES for count in sorted({1, threads})]
    head = ["Network", "Code", *(f"R@{n}" for n in ns), f"R@{ns[0]} against full", "Parameters"]
    head += ["File, MB", "Bytes an image"]
    head += [f"ms, batch {batch}, {count} thread{'s' * (count > 1)}" for batch, count in batches]
    head += ["Peak, MB"]
    lines = [head]
    for row in rows:
        cells = [
            str(row["variant"]),
            str(row["code"]),
            *(output.figure(row, f"recall@{n}") for n in ns),
        ]
        is_full = row["against"] == f"{row['variant']}/{row['code']}"
        change = row[f"difference@{ns[0]}"]
        value, low, high = (100 * change[name] for name in ("value", "low", "high"))
        cells.append("–" if is_full else f"{value:+.1f} ({low:+.1f} to {high:+.1f})")
        cells += [f"{row['parameters']:,}", f"{row['file_bytes'] / 1e6:.2f}"]
        cells.append(f"{row['descriptor_bytes']:,}")
        cells += [f"{row[f'ms_per_image_batch_{b}_threads_{t}']:.2f}" for b, t in batches]
        cells.append(f"{row['peak_bytes'] / 1e6:.0f}")
        lines.append(cells)
    return output.markdown(lines, left=2) + "\n"


def points(rows: Sequence[Row], n: int, cost: str, scale: float) -> list[Point]:
    return [
        Point(
            f"{row['variant']} {row['code']}",
            row[cost] / scale,
            *(100 * row[f"recall@{n}{end}"] for end in ("", "_low", "_high")),
        )
        for row in rows
    ]


def main(
    dataset: options.Dataset = None,
    against: Annotated[
        str | None, typer.Option(help="the baseline, as <variant>/<code>; default: trained/full")
    ] = None,
    out: options.Out = Path("artifacts/tradeoffs"),
    as_json: options.AsJson = False,
) -> None:
    """Measure size and speed of all variants and codes in use, and print them with their recall.

    Writes variants.json, variants.md (the printed table) and variants.png into the folder --out.
    """
    first = choose(dataset, None, None)
    p = Params.load(dataset=first.dataset)
    variant, _, code = (against or f"{first.variant}/{first.code}").partition("/")
    if variant not in p.variants or code not in p.codes:
        raise UserError(f"--against is {variant}/{code}, which {PARAMS_PATH} does not evaluate.")
    index, threads = read_index(first.index_path), sorted({1, p.runtime.cores})
    rows = measured_rows(Choice(first.dataset, variant, code), index, threads, p)
    text = table(rows, p.recall.ns, threads[-1])
    n, (width, height) = p.recall.ns[0], rows[0]["image_size"]
    panels = {
        "model file and whitening (MB)": points(rows, n, "file_bytes", 1e6),
        f"milliseconds an image of {width}×{height}": points(rows, n, "ms_per_image", 1),
        "bytes a descriptor": points(rows, n, "descriptor_bytes", 1),
    }
    write_json(out / "variants.json", rows)
    write_text(out / "variants.md", text)
    write_bytes(out / "variants.png", picture(panels, f"recall@{n} of {first.dataset} (%)"))
    if as_json:
        output.echo_json(rows)
    else:
        typer.echo(text, nl=False)
