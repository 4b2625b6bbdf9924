"""Computes a code of a set's descriptors, and its search index if it has one."""

from typing import Annotated

import typer

from vprlib.descriptors.codes import encode, read_code
from vprlib.descriptors.files import failed_rows, network_of, opened
from vprlib.descriptors.settings import IndexSettings
from vprlib.pipeline import command, paths
from vprlib.pipeline.artifacts import writing_folder
from vprlib.pipeline.cache import cache_at
from vprlib.pipeline.params import At, StageParams
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.pipeline.stored import digest
from vprlib.search.faiss_index import add
from vprlib.search.faiss_training import IndexRequest
from vprlib.search.growth import trained_for


class Params(StageParams):
    index: Annotated[IndexSettings | None, At("code_defs.{code}.index")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(dataset: str, variant: str, code: str) -> None:
    p = Params.load(code=code)
    coder = read_code(paths.coder(variant, code))
    said = []
    with writing_folder(paths.descriptors_dir(dataset, variant, code)) as folder:
        for side in ("db", "queries"):
            source = paths.descriptors(dataset, variant, "full", side)
            count, size = encode(folder / f"{side}.h5", coder, side, source, p.runtime)
            said.append(f"{side} {count} × {size} bytes")
        if p.index is not None:
            stored = folder / "db.h5"
            with opened(stored) as rows:
                budget, failed = (p.runtime.memory_bytes, p.runtime.cores), failed_rows(stored)
                request = IndexRequest(code, rows, p.index, *budget, failed)
                kept = cache_at(paths.CACHE, p.runtime, typer.echo)
                space = "" if p.index.drift is None else _space(dataset, variant, code)
                index, growth = trained_for(request, kept, space)
                facts = add(folder / "index", index, request)
            each = facts.bytes / max(1, facts.descriptors)
            said.append(f"{facts.factory} of {facts.descriptors} × {each:.0f} bytes")
            said += [growth] if growth else []
    typer.echo(f"{dataset}, {variant}, {code}: {', '.join(said)}")


def _space(dataset: str, variant: str, code: str) -> str:
    """Tells what the descriptors are: an index of others does not fit."""
    network = network_of(paths.descriptors(dataset, variant, "full", "db"))
    return f"{dataset} {network} {digest(paths.coder(variant, code))}"


if __name__ == "__main__":
    command.run(main)
