"""Writes predictions for other programs: the command `vpr predictions`."""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from vprlib.cli import options
from vprlib.cli.choice import SetParams, choose
from vprlib.evaluate.predictions import Predictions, read_predictions
from vprlib.pipeline.artifacts import write_csv, write_json, write_text
from vprlib.pipeline.params import UserError

SUBMITTED = 20  # database images per query in a submission
HEADER = ("query", "rank", "database", "distance", "easting", "northing", "metres", "right")


class Form(StrEnum):
    csv = "csv"
    submission = "submission"
    candidates = "candidates"


def as_rows(predictions: Predictions) -> Iterator[tuple[object, ...]]:
    """A row for each database image found; unknown positions and distances are empty."""
    p = predictions
    for query, rank in p.pairs():
        row = p.rows[query, rank]
        place = p.database.positions[row]
        metres = float(np.linalg.norm(place - p.queries.positions[query]))
        yield (
            p.queries.names[query],
            rank + 1,
            p.database.names[row],
            f"{p.distances[query, rank]:.6f}",
            *("" if np.isnan(value) else float(value) for value in place),
            "" if np.isnan(metres) else f"{metres:.3f}",
            int(p.right[query, rank]),
        )


def as_submission(predictions: Predictions) -> dict[str, object]:
    """The form of the class challenge: rows of the database, from zero, query by query."""
    best = predictions.rows[:, :SUBMITTED]
    found = (best >= 0).sum(axis=1)
    if best.shape[1] < SUBMITTED or found.min(initial=SUBMITTED) < SUBMITTED:
        query = int(np.argmin(found))
        raise UserError(
            f"a submission needs {SUBMITTED} database images per query, but query {query}"
            f" ({predictions.queries.names[query]}) has {found[query]}: the database needs"
            f" {SUBMITTED} images that the set's protocol does not drop."
        )
    return {"Query": [{"id": i, "positive": row} for i, row in enumerate(best.tolist())]}


def as_candidates(predictions: Predictions, folder: Path | None) -> Iterator[str]:
    """A line 'query, database' for each pair; paths start in the set's folder, or at `folder`."""
    p = predictions
    for query, rank in p.pairs():
        names = (p.queries.names[query], p.database.names[p.rows[query, rank]])
        paths = names if folder is None else tuple(str(folder / name) for name in names)
        for path in paths:
            if "," in path or "\n" in path:
                raise UserError(
                    f"'{path}' has a comma or a line break in it, which would break the"
                    " line 'query, database': rename it, or ask for --form csv."
                )
        yield ", ".join(paths)


def main(
    out: options.Out,
    dataset: options.Dataset = None,
    variant: options.Variant = None,
    code: options.Code = None,
    form: Annotated[Form, typer.Option(help="the format of the file")] = Form.csv,
    absolute: Annotated[
        Path | None, typer.Option(help="data/raw: write absolute paths (candidates only)")
    ] = None,
    predictions: Annotated[Path, typer.Option(help="the folder written by `recall`")] = Path(
        "artifacts/predictions"
    ),
    index: Annotated[Path, typer.Option(help="the folder written by `parse_mat`")] = Path(
        "data/index"
    ),
) -> None:
    """Write the images found for each query: as CSV, submission, or candidates for re-ranking."""
    if absolute is not None and form is not Form.candidates:
        raise UserError(f"--absolute needs --form candidates, but the form is {form}.")
    choice = choose(dataset, variant, code)
    dataset, name = choice.dataset, f"{choice.variant}-{choice.code}"
    found = read_predictions(predictions / dataset / f"{name}.h5", index / dataset)
    if form is Form.csv:
        write_csv(out, HEADER, as_rows(found))
    elif form is Form.submission:
        write_json(out, as_submission(found))
    else:
        folder = None
        if absolute is not None:
            folder = absolute.absolute() / SetParams.load(dataset=dataset).folder
        write_text(out, "".join(f"{line}\n" for line in as_candidates(found, folder)))
    typer.echo(f"{out}: {len(found.rows)} queries of {choice.title}, as {form}")
