"""Writes predictions in a form that other programs read."""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

import numpy as np
import typer

from vprlib.evaluate.predictions import Predictions, read_predictions
from vprlib.pipeline import command
from vprlib.pipeline.artifacts import write_csv, write_json, write_text
from vprlib.pipeline.params import PARAMS_PATH, UserError, look_up, read_params_file

SUBMITTED = 20  # database images a query in a submission
HEADER = ("query", "rank", "database", "distance", "easting", "northing", "metres", "right")


class Form(StrEnum):
    csv = "csv"
    submission = "submission"
    candidates = "candidates"


def as_rows(predictions: Predictions) -> Iterator[tuple[object, ...]]:
    """A row a database image found; positions and metres are empty where they are unknown."""
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
    """The class challenge's form: zero-based rows in the order of the specification."""
    best = predictions.rows[:, :SUBMITTED]
    found = (best >= 0).sum(axis=1)
    if best.shape[1] < SUBMITTED or found.min(initial=SUBMITTED) < SUBMITTED:
        query = int(np.argmin(found))
        raise UserError(
            f"a submission names {SUBMITTED} database images a query, but query {query}"
            f" ({predictions.queries.names[query]}) has {found[query]}: the database needs"
            f" {SUBMITTED} images that the set's protocol leaves."
        )
    return {"Query": [{"id": i, "positive": row} for i, row in enumerate(best.tolist())]}


def as_candidates(predictions: Predictions, folder: Path | None) -> Iterator[str]:
    """A line 'query, database' a pair; paths from the set's folder, or below `folder`."""
    p = predictions
    for query, rank in p.pairs():
        names = (p.queries.names[query], p.database.names[p.rows[query, rank]])
        paths = names if folder is None else tuple(str(folder / name) for name in names)
        for path in paths:
            if "," in path or "\n" in path:
                raise UserError(
                    f"'{path}' has a comma or a line break in it, which would tear a line"
                    " 'query, database': rename it, or ask for --form csv."
                )
        yield ", ".join(paths)


def write(form: Form, out: Path, predictions: Predictions, folder: Path | None) -> None:
    if form is Form.csv:
        write_csv(out, HEADER, as_rows(predictions))
    elif form is Form.submission:
        write_json(out, as_submission(predictions))
    else:
        write_text(out, "".join(f"{line}\n" for line in as_candidates(predictions, folder)))


def main(
    dataset: str = typer.Option(..., "--set", help="the set, such as city_test"),
    variant: str = typer.Option(..., help="the network, such as trained"),
    code: str = typer.Option("full", help="what is kept of a descriptor"),
    form: Form = typer.Option(Form.csv, help="what to write"),
    out: Path = typer.Option(..., help="the file to write"),
    absolute: Path | None = typer.Option(
        None, help="candidates: the folder data/raw, so that paths are absolute"
    ),
    predictions: Path = typer.Option(Path("artifacts/predictions"), help="what `recall` wrote"),
    index: Path = typer.Option(Path("data/index"), help="what `parse_mat` wrote"),
) -> None:
    """Writes predictions as a CSV, as a submission, or as candidates for re-ranking."""
    if absolute is not None and form is not Form.candidates:
        raise UserError(f"--absolute is for --form candidates, but the form is {form}.")
    found = read_predictions(predictions / dataset / f"{variant}-{code}.h5", index / dataset)
    folder = None
    if absolute is not None:
        place = look_up(read_params_file(PARAMS_PATH), f"sets.{dataset}.folder")
        folder = absolute.absolute() / str(place)
    write(form, out, found, folder)
    typer.echo(f"{out}: {len(found.rows)} queries of {dataset}, {variant}, {code}, as {form}")


if __name__ == "__main__":
    command.run(main)
