"""Builds one part of an index on this machine: `python -m vprlib.cli.index_part --part 1/4 …`."""

import re
from pathlib import Path
from typing import Annotated

import typer

from vprlib.cli.choice import Choice, choose
from vprlib.descriptors.files import failed_rows, opened_code
from vprlib.descriptors.settings import IndexSettings
from vprlib.images.index import read_index
from vprlib.pipeline import command
from vprlib.pipeline.params import PARAMS_PATH, At, StageParams, UserError
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.search.approximate import add, train
from vprlib.search.lists import open_trained


class Params(StageParams):
    index: Annotated[IndexSettings | None, At("code_defs.{code}.index")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


def numbers(part: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)/([1-9]\d*)", part)
    if not found or int(found[1]) > int(found[2]):
        raise UserError(f"--part is '{part}', but should be such as 1/4, or 0/4 to train alone.")
    return int(found[1]), int(found[2])


def main(
    dataset: str | None = typer.Option(None, "--set", help="default: the first of eval_on"),
    variant: str | None = typer.Option(None, help="default: trained, where it is evaluated"),
    code: str | None = typer.Option(None, help="default: the first of codes"),
    part: str = typer.Option(..., help="1/4 … 4/4 of the rows; 0/4: train, and add nothing"),
    trained: Path | None = typer.Option(None, help="the folder that 0/4 left; null: train here"),
    out: Path = typer.Option(..., help="the folder to write"),
) -> None:
    """Adds a part of the descriptors to a trained index; merge_index puts the parts together."""
    choice, which = choose(dataset, variant, code), numbers(part)
    p = Params.load(code=choice.code)
    if p.index is None:
        raise UserError(f"{PARAMS_PATH}: code_defs.{choice.code}.index is null: name an index.")
    facts = build_part(choice, p.index, which, trained, out, p.runtime)
    typer.echo(f"{out}: {facts['descriptors']} descriptors, {facts['bytes']} bytes")


def build_part(
    choice: Choice,
    settings: IndexSettings,
    part: tuple[int, int],
    trained: Path | None,
    out: Path,
    runtime: RuntimeSettings,
) -> dict[str, object]:
    place = f"{PARAMS_PATH}: code_defs.{choice.code}"
    full, budget = choice.descriptors_path, (runtime.memory_bytes, runtime.cores)
    count, absent = len(read_index(choice.index_path)), failed_rows(full)
    with opened_code(choice.coded_path, "database", full, count) as stored:
        if trained is None:
            index = train(place, stored, settings, *budget, absent)
        else:
            index = open_trained(trained, stored.shape[1])
        return add(out, place, index, stored, settings, *budget, absent, part)


if __name__ == "__main__":
    command.run(main)
