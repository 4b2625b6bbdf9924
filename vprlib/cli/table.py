"""Prints recall of every variant, and what training gained: `python -m vprlib.cli.table`."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import typer

from vprlib.pipeline import command
from vprlib.pipeline.params import PARAMS_PATH, UserError, look_up, read_params_file

Metrics = Mapping[str, object]  # of one JSON file
Row = tuple[str, str, str, Metrics]  # set, variant, code and the metrics


def read_rows(metrics_dir: Path) -> list[Row]:
    """The metrics of `recall` by set, variant and code; the untrained network first."""
    paths = sorted(metrics_dir.glob("*/*-*.json"))
    if not paths:
        raise UserError(f"{metrics_dir} holds no metrics of recall: run `dvc repro` first.")
    keys = [(path.parent.name, *path.stem.rsplit("-", 1)) for path in paths]
    contents = [json.loads(path.read_text()) for path in paths]
    return [(*key, content) for key, content in zip(keys, contents, strict=True)]


def in_switches(rows: Sequence[Row], params: Mapping[str, object]) -> list[Row]:
    """The rows whose set, variant and code params.yaml evaluates now; others may be old."""
    switches = [look_up(params, name) for name in ("eval_on", "variants", "codes")]
    return [row for row in rows if all(k in s for k, s in zip(row[:3], switches, strict=True))]


def table(rows: Sequence[Row]) -> str:
    """Figures in per cent as aligned text, and below them what `trained` gained in points.

    The protocol is named where it is not plain recall over all queries.
    """
    names = _measures(rows)
    lines = [(["set", "variant", "code", "protocol"], names), *_lines(rows, names)]
    left = 4 if any(keys[3] != "plain" for keys, _ in lines[1:]) else 3
    cells = [keys[:left] + figures for keys, figures in lines]
    widths = [max(len(line[column]) for line in cells) for column in range(left + len(names))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    )


def markdown(rows: Sequence[Row]) -> str:
    """The same as a table of Markdown, the protocol always named."""
    names = _measures(rows)
    short = ["mAP" if name == "map" else f"R@{_number(name)}" for name in names]
    lines = [
        ["Set", "Network", "Code", "Protocol", *short],
        [":--"] * 4 + ["--:"] * len(names),
        *(keys + figures for keys, figures in _lines(rows, names)),
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _lines(rows: Sequence[Row], names: Sequence[str]) -> list[tuple[list[str], list[str]]]:
    """What a line is of (set, variant, code, protocol), and its figures; the gains come last."""
    lines = []
    for *key, metrics in rows:
        figures = [_figure(metrics, n) for n in names]
        lines.append(([*key, _protocol(metrics)], figures))
    for dataset, code, start, trained in _pairs(rows):
        gains = [
            f"{100 * (trained[n] - start[n]):+.1f}" if n in trained and n in start else "-"
            for n in names
        ]
        lines.append(([dataset, "gained by training", code, _protocol(trained)], gains))
    return lines


def _figure(metrics: Metrics, name: str) -> str:
    """In per cent, with its interval where there is one."""
    if name not in metrics:
        return "-"
    if f"{name}_low" not in metrics:
        return f"{100 * metrics[name]:.1f}"
    low, high = metrics[f"{name}_low"], metrics[f"{name}_high"]
    return f"{100 * metrics[name]:.1f} ({100 * low:.1f}–{100 * high:.1f})"


def _measures(rows: Sequence[Row]) -> list[str]:
    """The recalls by rising N, and mAP where a set has it."""
    recalls = {n for *_, metrics in rows for n in metrics if _is_recall(n)}
    return sorted(recalls, key=_number) + ["map"] * any("map" in m for *_, m in rows)


def _protocol(metrics: Metrics) -> str:
    """The protocol, and the denominator where it is not all queries."""
    denominator = metrics.get("denominator", "all")
    name = str(metrics.get("protocol", "plain"))
    return name if denominator == "all" else f"{name}, {denominator}"


def _pairs(
    rows: Sequence[Row],
) -> list[tuple[str, str, Metrics, Metrics]]:
    """Set, code and the metrics of both, where both networks were evaluated alike."""
    found = {(dataset, code, variant): metrics for dataset, variant, code, metrics in rows}
    return [
        (dataset, code, found[dataset, code, "off_the_shelf"], metrics)
        for (dataset, code, variant), metrics in found.items()
        if variant == "trained"
        and (dataset, code, "off_the_shelf") in found
        and _protocol(found[dataset, code, "off_the_shelf"]) == _protocol(metrics)
    ]


def _is_recall(name: str) -> bool:
    return re.fullmatch(r"recall@\d+", name) is not None


def _number(name: str) -> int:
    return int(name.partition("@")[2])


def main(
    metrics: Path = typer.Option(Path("metrics/recall"), help="where recall's JSON lies"),
    as_markdown: bool = typer.Option(False, "--markdown", help="as a table of Markdown"),
) -> None:
    """Prints the recall of every variant side by side, and what training gained."""
    in_use = in_switches(read_rows(metrics), read_params_file(PARAMS_PATH))
    if not in_use:
        raise UserError(f"{metrics} holds nothing that the switches name: run `dvc repro` first.")
    typer.echo(markdown(in_use) if as_markdown else table(in_use))


if __name__ == "__main__":
    command.run(main)
