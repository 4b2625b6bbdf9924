"""Recall, size and speed of every variant and code in one table."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import h5py
import numpy as np
import typer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from vprlib.cli.costs import Cost, measured_in_rounds
from vprlib.cli.find import Choice, choose
from vprlib.cli.runs import Spelled, read_run
from vprlib.descriptors.codes import read_arrays
from vprlib.descriptors.quantisers import bytes_a_row
from vprlib.evaluate.intervals import (
    CompareSettings,
    IntervalSettings,
    difference_interval,
    share_interval,
)
from vprlib.evaluate.recall import RecallSettings
from vprlib.images.decode import ImageSettings, target_size
from vprlib.images.index import ImageIndex, read_index
from vprlib.model.device import processor_name
from vprlib.model.packing import KEPT, ROW_SCALE
from vprlib.pipeline import command
from vprlib.pipeline.artifacts import write_bytes, write_json, write_text
from vprlib.pipeline.params import At, StageParams, UserError
from vprlib.pipeline.png import figure_png
from vprlib.pipeline.runtime import RuntimeSettings

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
    return figure_png(figure)


def _scale(axes: Axes, costs: Sequence[float]) -> None:
    spread = max(costs) / min(costs)
    if spread < NARROW:
        return
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if spread < WIDE else (1,)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


Row = dict[str, object]


class Params(StageParams):
    variants: Annotated[list[str], At("variants")]
    codes: Annotated[list[str], At("codes")]
    images: Annotated[ImageSettings, At("datasets.{dataset}.images")]
    recall: Annotated[RecallSettings, At("recall")]
    interval: Annotated[IntervalSettings, At("interval")]
    compare: Annotated[CompareSettings, At("compare")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


@dataclass(frozen=True)
class Answers:
    """What a variant and code found for the queries of a set."""

    right: np.ndarray  # [Q, K]
    counted: np.ndarray  # [Q] whether the query is in the denominator
    place: np.ndarray  # [Q] its location

    def found(self, n: int) -> np.ndarray:
        """Whether one of the n nearest is right, of the counted queries."""
        return self.right[self.counted, :n].any(axis=1)


def read_answers(choice: Choice, location_m: float) -> Answers:
    """Predictions and how they are counted, as `recall` left them."""
    run = read_run(Spelled(None, choice.variant, choice.code), choice.dataset)
    return Answers(run.right, run.counted, run.locations(location_m))


def recalls(answers: Answers, full: Answers, p: Params) -> Row:
    """Recall at each N with its interval, and the difference from the full model with its own."""
    row: Row = {}
    place = answers.place[answers.counted]
    for n in p.recall.ns:
        found = answers.found(n)
        low, high = share_interval(found, place, p.interval)
        row |= {f"recall@{n}": float(found.mean())}
        row |= {f"recall@{n}_low": low, f"recall@{n}_high": high}
        change = difference_interval(full.found(n), found, place, p.interval, p.compare)
        row[f"difference@{n}"] = asdict(change)
    return row


def sizes(choice: Choice) -> Row:
    """Numbers and bytes of what makes a descriptor, and bytes of a descriptor on disk."""
    from safetensors import safe_open

    with safe_open(choice.model_path, "np") as file:
        kept = [n for n in file.keys() if not n.endswith((KEPT, ROW_SCALE))]  # noqa: SIM118
        shapes = [file.get_slice(name).get_shape() for name in kept]  # zeros left out count not
    whitening = read_arrays(choice.coder_path)
    coder_bytes = choice.coder_path.stat().st_size if whitening else 0
    with h5py.File(choice.coded_path) as coded, h5py.File(choice.descriptors_path) as full:
        descriptor_bytes = bytes_a_row(coded.get("database", full["descriptors"]))
    return {
        "parameters": sum(int(np.prod(shape)) for shape in shapes)
        + sum(values.size for values in whitening.values()),
        "file_bytes": choice.model_path.stat().st_size + coder_bytes,
        "descriptor_bytes": descriptor_bytes,
    }


def speeds(costs: Sequence[Cost], coder: Path | None) -> Row:
    """Milliseconds an image, network and code together, and the peaks of memory."""
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


def exported(path: Path, costs: Sequence[Cost] | None) -> Row | None:
    """Size and speed of the export, where there is one."""
    if costs is None:
        return None
    return {"file_bytes": path.stat().st_size, **speeds(costs, None)}


def commonest_size(index: ImageIndex, settings: ImageSettings) -> tuple[int, int]:
    """Width and height that most images of a set have before the network."""
    stored = zip(
        index.widths.tolist(), index.heights.tolist(), index.is_rotated.tolist(), strict=True
    )
    found = [target_size(*image, settings) for image in stored]
    return max(sorted(set(found)), key=found.count)


def measured_rows(
    full: Choice, size: tuple[int, int], threads: Sequence[int], p: Params
) -> list[Row]:
    """A row a variant and code; `full` is what the others are held against."""
    choices = {v: [Choice(full.dataset, v, c) for c in p.codes] for v in p.variants}
    every = [choice for of_variant in choices.values() for choice in of_variant]
    found = {choice: read_answers(choice, p.interval.location_m) for choice in every}
    networks = {of[0].model_path: [c.coder_path for c in of] for of in choices.values()}
    networks |= {choice.onnx_path: [] for choice in every if choice.onnx_path.exists()}
    costs = measured_in_rounds(networks, size, threads)
    return [
        {
            "variant": choice.variant,
            "code": choice.code,
            "set": choice.dataset,
            "queries": int(answers.counted.sum()),
            "against": f"{full.variant}/{full.code}",
            **recalls(answers, found[full], p),
            **sizes(choice),
            **speeds(costs[choice.model_path], choice.coder_path),
            "onnx": exported(choice.onnx_path, costs.get(choice.onnx_path)),
            "image_size": list(size),
            "machine": processor_name(),
        }
        for choice, answers in found.items()
    ]


def table(rows: Sequence[Mapping[str, object]], ns: Sequence[int], threads: int) -> str:
    """The rows as a table of Markdown."""
    batches = [(1, 1), (1, threads), (16, 1), (16, threads)]
    if threads == 1:
        batches = [(1, 1), (16, 1)]
    head = ["Network", "Code", *(f"R@{n}" for n in ns), f"R@{ns[0]} against full", "Parameters"]
    head += ["File, MB", "Bytes an image"]
    head += [f"ms, batch {batch}, {count} thread{'s' * (count > 1)}" for batch, count in batches]
    head += ["Peak, MB"]
    lines = [head, [":--"] * 2 + ["--:"] * (len(head) - 2)]
    for row in rows:
        cells = [str(row["variant"]), str(row["code"]), *(_recall(row, n) for n in ns)]
        is_full = row["against"] == f"{row['variant']}/{row['code']}"
        cells.append("–" if is_full else _difference(row[f"difference@{ns[0]}"]))
        cells += [f"{row['parameters']:,}", f"{row['file_bytes'] / 1e6:.2f}"]
        cells.append(f"{row['descriptor_bytes']:,}")
        cells += [f"{row[f'ms_per_image_batch_{b}_threads_{t}']:.2f}" for b, t in batches]
        cells.append(f"{row['peak_bytes'] / 1e6:.0f}")
        lines.append(cells)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def _recall(row: Mapping[str, object], n: int) -> str:
    value, low, high = (100 * row[f"recall@{n}{end}"] for end in ("", "_low", "_high"))
    return f"{value:.1f} ({low:.1f}–{high:.1f})"


def _difference(change: Mapping[str, float]) -> str:
    value, low, high = (100 * change[name] for name in ("value", "low", "high"))
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"


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
    dataset: str | None = typer.Option(None, "--set", help="default: the first of eval_on"),
    against: str | None = typer.Option(None, help="<variant>/<code>; default: trained/full"),
    json_out: Path = typer.Option(Path("metrics/variants.json"), "--json"),
    table_out: Path = typer.Option(Path("metrics/variants.md"), "--table"),
    picture_out: Path = typer.Option(Path("artifacts/plots/variants.png"), "--picture"),
) -> None:
    """Measures size and speed of all variants and codes of the switches, beside their recall."""
    first = choose(dataset, None, None)
    p = Params.load(dataset=first.dataset)
    variant, _, code = (against or f"{first.variant}/{first.code}").partition("/")
    if variant not in p.variants or code not in p.codes:
        raise UserError(f"--against is {variant}/{code}, which the switches do not name.")
    size = commonest_size(read_index(first.index_path), p.images)
    threads = sorted({1, p.runtime.cores})
    rows = measured_rows(Choice(first.dataset, variant, code), size, threads, p)
    write_json(json_out, rows)
    write_text(table_out, table(rows, p.recall.ns, threads[-1]))
    n = p.recall.ns[0]
    panels = {
        "model file and whitening (MB)": points(rows, n, "file_bytes", 1e6),
        f"milliseconds an image of {size[0]}×{size[1]}": points(rows, n, "ms_per_image", 1),
        "bytes a descriptor": points(rows, n, "descriptor_bytes", 1),
    }
    write_bytes(picture_out, picture(panels, f"recall@{n} of {first.dataset} (%)"))
    typer.echo(table_out.read_text(encoding="utf-8"), nl=False)


if __name__ == "__main__":
    command.run(main)
