"""Prints recall of every variant, and what training gained: `python -m vprlib.table`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import typer

from vprlib import command
from vprlib.params import PARAMS_PATH, UserError, look_up, read_params_file

Row = tuple[str, str, str, Mapping[str, float]]  # set, variant, code and the metrics


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
    """Recalls in per cent as aligned text, and below it what `trained` gained in points."""
    names = sorted({n for *_, m in rows for n in m if _is_recall(n)}, key=_number)
    lines = [["set", "variant", "code", *names]]
    for *key, metrics in rows:
        lines.append([*key, *(f"{100 * metrics[n]:.1f}" if n in metrics else "-" for n in names)])
    for dataset, code, start, trained in _pairs(rows):
        gains = (
            f"{100 * (trained[n] - start[n]):+.1f}" if n in trained and n in start else "-"
            for n in names
        )
        lines.append([dataset, "gained by training", code, *gains])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(w) if i < 3 else cell.rjust(w) for i, (cell, w) in enumerate(cells))
        for cells in (list(zip(line, widths, strict=True)) for line in lines)
    )


def _pairs(rows: Sequence[Row]) -> list[tuple[str, str, Mapping[str, float], Mapping[str, float]]]:
    """Set, code and the metrics of both, where both networks were evaluated."""
    found = {(dataset, code, variant): metrics for dataset, variant, code, metrics in rows}
    return [
        (dataset, code, found[dataset, code, "off_the_shelf"], metrics)
        for (dataset, code, variant), metrics in found.items()
        if variant == "trained" and (dataset, code, "off_the_shelf") in found
    ]


def _is_recall(name: str) -> bool:
    return name.startswith("recall@")


def _number(name: str) -> int:
    return int(name.partition("@")[2])


def main(
    metrics: Path = typer.Option(Path("metrics/recall"), help="where recall's JSON lies"),
) -> None:
    """Prints the recall of every variant side by side, and what training gained."""
    in_use = in_switches(read_rows(metrics), read_params_file(PARAMS_PATH))
    if not in_use:
        raise UserError(f"{metrics} holds nothing that the switches name: run `dvc repro` first.")
    typer.echo(table(in_use))


if __name__ == "__main__":
    command.run(main)
