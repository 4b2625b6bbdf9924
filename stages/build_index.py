"""Builds the approximate index of a code over the database's descriptors, where it has one."""

from pathlib import Path
from typing import Annotated

import h5py
import typer

from vprlib.descriptors.files import failed_rows, opened_code
from vprlib.descriptors.settings import IndexSettings
from vprlib.pipeline import command
from vprlib.pipeline.params import At, StageParams
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.search.faiss_index import build, write_no_index
from vprlib.search.faiss_training import IndexRequest


class Params(StageParams):
    index: Annotated[IndexSettings | None, At("code_defs.{code}.index")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(
    code: str = typer.Option(),
    db: Path = typer.Option(),
    coded: Path = typer.Option(),
    out: Path = typer.Option(),
) -> None:
    p = Params.load(code=code)
    if p.index is None:
        write_no_index(out)
        typer.echo(f"{code}: no index, searched exactly")
        return
    with h5py.File(db) as file:
        count = len(file["descriptors"])
    with opened_code(coded, "database", db, count) as stored:
        budget = p.runtime.memory_bytes, p.runtime.cores
        facts = build(out, IndexRequest(code, stored, p.index, *budget, failed_rows(db)))
    typer.echo(
        f"{code}: {facts['factory']} of {facts['descriptors']} descriptors,"
        f" {facts['bytes'] / max(1, facts['descriptors']):.0f} bytes each"
    )


if __name__ == "__main__":
    command.run(main)
