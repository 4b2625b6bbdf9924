"""What commands print: aligned tables, Markdown tables and JSON."""

import json
from collections.abc import Collection, Sequence

import typer

from vprlib.pipeline.params import JsonObject


def aligned(rows: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> str:
    """Columns of equal width: those named in `left` start at the left, numbers end at the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def markdown(rows: Sequence[Sequence[str]], left: int) -> str:
    """A Markdown table; the first row is its head, the first `left` columns hold text."""
    head, *others = rows
    ends = [":--"] * left + ["--:"] * (len(head) - left)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ends, *others])


def figure(metrics: JsonObject, name: str) -> str:
    """In per cent, with its confidence interval if there is one."""
    if name not in metrics:
        return "-"
    if f"{name}_low" not in metrics:
        return f"{100 * metrics[name]:.1f}"
    low, high = metrics[f"{name}_low"], metrics[f"{name}_high"]
    return f"{100 * metrics[name]:.1f} ({100 * low:.1f}–{100 * high:.1f})"


def echo_json(answer: object) -> None:
    typer.echo(json.dumps(answer, indent=2, allow_nan=False))
