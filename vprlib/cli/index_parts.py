"""Builds an index in parts, on one machine or several, and merges them: `vpr index part|merge`."""

import re
from pathlib import Path
from typing import Annotated

import typer

from vprlib.cli import options
from vprlib.cli.choice import choose
from vprlib.descriptors.settings import IndexSettings
from vprlib.images.index import read_index
from vprlib.pipeline.params import PARAMS_PATH, At, StageParams, UserError
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.search.faiss_index import add
from vprlib.search.faiss_index import merge as merge_folders
from vprlib.search.faiss_training import IndexRequest, train
from vprlib.search.lists import FACTS, Facts, open_trained


class Params(StageParams):
    index: Annotated[IndexSettings | None, At("code_defs.{code}.index")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


def parse_part(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)/([1-9]\d*)", text)
    if not found or int(found[1]) > int(found[2]):
        raise UserError(f"--part is '{text}', but should be such as 1/4, or 0/4 to only train.")
    return int(found[1]), int(found[2])


def part(
    part: Annotated[str, typer.Option(help="1/4 to 4/4: add these rows; 0/4: only train")],
    out: options.Out,
    dataset: options.Dataset = None,
    variant: options.Variant = None,
    code: options.Code = None,
    trained: Annotated[
        Path | None, typer.Option(help="the folder of part 0/4; without it: train now")
    ] = None,
) -> None:
    """Build one part of a large search index; `vpr index merge` joins the parts."""
    check_out(out)
    choice, which = choose(dataset, variant, code), parse_part(part)
    p = Params.load(code=choice.code)
    if p.index is None:
        raise UserError(f"{PARAMS_PATH}: code_defs.{choice.code}.index is null: set an index.")
    budget = p.runtime.memory_bytes, p.runtime.cores
    with choice.descriptors("db", len(read_index(choice.index_path))) as stored:
        request = IndexRequest(choice.code, stored, p.index, *budget, choice.failed_rows())
        index = open_trained(trained, request.dim) if trained else train(request)
        echo(out, add(out, index, request, which))


def merge(
    parts: Annotated[list[Path], typer.Argument(help="folders of `vpr index part`, in order")],
    out: options.Out,
) -> None:
    """Merge the parts of a search index into one index, with little memory."""
    check_out(out)
    echo(out, merge_folders(out, parts))


def check_out(out: Path) -> None:
    """Refuses to replace a folder that holds something else than an index."""
    if out.is_dir() and not (out / FACTS).exists() and any(out.iterdir()):
        raise UserError(f"{out} holds other files, which would be lost: name a new folder.")


def echo(out: Path, facts: Facts) -> None:
    typer.echo(f"{out}: {facts.descriptors} descriptors, {facts.bytes} bytes")
