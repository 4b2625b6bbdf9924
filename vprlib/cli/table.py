"""Recall of every variant, and what training gained: the command `vpr table`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from vprlib.cli import options, output
from vprlib.pipeline import paths
from vprlib.pipeline.command import Note, read_notes
from vprlib.pipeline.json_files import damaged, read_json
from vprlib.pipeline.params import PARAMS_PATH, At, JsonObject, UserError
from vprlib.pipeline.paths import Side
from vprlib.pipeline.switches import FULL

Metrics = dict[str, Any]  # of one JSON file


@dataclass(frozen=True)
class Leaks:
    """What is read of the metrics of `audit`."""

    train: str = ""
    said: tuple[str, ...] = ()


# a figure of `cost`, its unit, and the places after the point
COSTS = (
    *(("dimensions", 1, 0), ("descriptor_bytes", 1, 0)),
    *(("network_bytes", 1e6, 1), ("ms_an_image", 1, 1)),
)
Row = tuple[str, str, str, Metrics]  # set, variant, code and the metrics


class Params(options.InUse):
    train_on: Annotated[list[str], At("train_on")]


def read_rows(metrics_dir: Path) -> list[Row]:
    """The metrics of every set, variant and code; the untrained network comes first."""
    paths = sorted(metrics_dir.glob("*/*-*.json"))
    if not paths:
        raise UserError(f"{metrics_dir} holds no metrics of recall: run `dvc repro` first.")
    keys = [(path.parent.name, *path.stem.rsplit("-", 1)) for path in paths]
    contents = [read_metrics(path) for path in paths]
    return [(key[0], key[1], key[-1], c) for key, c in zip(keys, contents, strict=True)]


def read_metrics(path: Path) -> Metrics:
    """Of one run, by `recall`."""
    found = read_json(path, Metrics)
    for name, value in found.items():
        if (name == "map" or "@" in name) and not isinstance(value, (int, float)):
            raise damaged(path, f"{name} is {value!r}")
    return found


def in_use(rows: Sequence[Row], p: options.InUse) -> list[Row]:
    """The rows whose set, variant and code params.yaml names; other files may be outdated."""
    names = (p.eval_on, p.variants, p.codes)
    return [row for row in rows if all(k in known for k, known in zip(row[:3], names, strict=True))]


def leaks(dataset: str, train_on: Sequence[str]) -> Sequence[str]:
    """What `audit` found of a set in the training sets in use."""
    path = paths.metrics("audit", dataset)
    found = read_json(path, Leaks) if path.exists() else Leaks()
    return found.said if found.train in train_on else ()


def cost(notes: Mapping[str, Note], dataset: str, variant: str, code: str) -> JsonObject:
    """Bytes of the network's file and of a descriptor, its dimensions, and milliseconds an image.

    What is not there is left out, as are times of a run that made other descriptors.
    """
    from vprlib.descriptors.files import opened  # loads Faiss, which --help does without
    from vprlib.descriptors.quantisers import bytes_a_row

    found: JsonObject = {}
    network, stored = paths.model(variant), paths.descriptors(dataset, variant, code, "db")
    if network.exists():
        found["network_bytes"] = network.stat().st_size
    if stored.exists():
        with opened(stored) as descriptors:
            found["dimensions"] = descriptors.shape[1]
            found["descriptor_bytes"] = bytes_a_row(descriptors)
    images, seconds = _described(dataset, variant, notes)
    return found | ({"ms_an_image": 1000 * seconds / images} if images else {})


def _described(dataset: str, variant: str, notes: Mapping[str, Note]) -> tuple[float, float]:
    """How many images of the set the stages have described in their last runs, and the seconds."""
    images = seconds = 0.0
    for side in get_args(Side):
        note = notes.get(f"python -m stages.extract_{side} {dataset} {variant}")
        made = paths.descriptors(dataset, variant, FULL, side)
        if note and made.exists() and note.holds(made.stat().st_mtime):
            images += note.told.get("described", 0)
            seconds += note.told.get("describing", 0)
    return images, seconds


def costs(rows: Sequence[Row]) -> list[list[str]]:
    """What a descriptor of each variant and code costs, with a head; nothing if nothing is known.

    The milliseconds are those of the first set that has them.
    """
    lines: dict[tuple[str, str], list[str]] = {}
    notes = read_notes()
    for *names, _ in rows:
        found = cost(notes, *names)
        shown = [
            f"{found[key] / scale:,.{places}f}" if key in found else "-"
            for key, scale, places in COSTS
        ]
        if found and lines.get((names[1], names[2]), ["-"])[-1] == "-":
            lines[names[1], names[2]] = [*names[1:], *shown]
    head = ["variant", "code", "dimensions", "bytes", "network, MB", "ms an image"]
    return [head, *lines.values()] if lines else []


def table(rows: Sequence[Row]) -> str:
    """Recall in per cent as aligned text, and below it what training gained in points.

    The protocol has a column if any is not plain recall over all queries.
    """
    names = _measures(rows)
    lines = [(["set", "variant", "code", "protocol"], names), *_lines(rows, names)]
    left = 4 if any(keys[3] != "plain" for keys, _ in lines[1:]) else 3
    return output.aligned([keys[:left] + figures for keys, figures in lines], range(left))


def markdown(rows: Sequence[Row]) -> str:
    """The same as a Markdown table, which always names the protocol."""
    names = _measures(rows)
    short = ["mAP" if name == "map" else f"R@{_number(name)}" for name in names]
    head = ["Set", "Network", "Code", "Protocol", *short]
    return output.markdown([head, *(keys + f for keys, f in _lines(rows, names))], left=4)


def _lines(rows: Sequence[Row], names: Sequence[str]) -> list[tuple[list[str], list[str]]]:
    """Set, variant, code and protocol of each line, and its figures; the gains come last."""
    lines = []
    for *key, metrics in rows:
        figures = [output.figure(metrics, n) for n in names]
        lines.append(([*key, _protocol(metrics)], figures))
    for dataset, code, start, trained in _pairs(rows):
        gains = [
            f"{100 * (trained[n] - start[n]):+.1f}" if n in trained and n in start else "-"
            for n in names
        ]
        lines.append(([dataset, "gained by training", code, _protocol(trained)], gains))
    return lines


def _measures(rows: Sequence[Row]) -> list[str]:
    """The recalls by rising N, and mAP if a set has it."""
    recalls = {n for *_, metrics in rows for n in metrics if re.fullmatch(r"recall@\d+", n)}
    return sorted(recalls, key=_number) + ["map"] * any("map" in m for *_, m in rows)


def _protocol(metrics: Metrics) -> str:
    """The protocol, the frames of a sequence, and the denominator unless it is all queries."""
    denominator, frames = metrics.get("denominator", "all"), metrics.get("sequence_frames", 1)
    name = str(metrics.get("protocol", "plain")) + f", {frames} frames" * (frames != 1)
    return name if denominator == "all" else f"{name}, {denominator}"


def _pairs(rows: Sequence[Row]) -> list[tuple[str, str, Metrics, Metrics]]:
    """Set, code and the metrics of both networks, if both were evaluated by the same rules."""
    found = {(dataset, code, variant): metrics for dataset, variant, code, metrics in rows}
    return [
        (dataset, code, found[dataset, code, "off_the_shelf"], metrics)
        for (dataset, code, variant), metrics in found.items()
        if variant == "trained"
        and (dataset, code, "off_the_shelf") in found
        and _protocol(found[dataset, code, "off_the_shelf"]) == _protocol(metrics)
    ]


def _number(name: str) -> int:
    return int(name.partition("@")[2])


def main(
    metrics: Annotated[Path, typer.Option(help="the folder of the JSON files of `recall`")] = Path(
        "metrics/recall"
    ),
    as_markdown: Annotated[bool, typer.Option("--markdown", help="print a Markdown table")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Print the recall of all variants in one table, and how much training gained.

    A second table has what a descriptor costs, where artifacts are there: dimensions, bytes, and
    the time for an image, decoding included, when it was last described.

    Lines below the tables report leaks: images of the training set in an evaluated set, or near it.
    """
    p = Params.load()
    rows = in_use(read_rows(metrics), p)
    if not rows:
        raise UserError(f"{metrics} has no results for {PARAMS_PATH}: run `dvc repro` first.")
    found = {dataset: leaks(dataset, p.train_on) for dataset, *_ in rows}
    if as_json:
        names, notes = ("set", "variant", "code", "leaks"), read_notes()
        answers = [
            {**dict(zip(names, (*key, found[key[0]]), strict=True)), **m, **cost(notes, *key)}
            for *key, m in rows
        ]
        output.echo_json(answers)
        return
    typer.echo(markdown(rows) if as_markdown else table(rows))
    if known := costs(rows):
        shown = output.markdown(known, 2) if as_markdown else output.aligned(known, (0, 1))
        typer.echo(f"\n{shown}")
    for dataset, sentences in found.items():
        if sentences:
            typer.echo(f"\n{dataset}: LEAK: {'; '.join(sentences)}")
