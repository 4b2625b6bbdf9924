"""Finds the nearest database images of every query."""

from typing import Annotated

import typer

from vprlib.descriptors.files import failed_rows, opened
from vprlib.descriptors.settings import SearchSettings
from vprlib.images.index import SESSION, check_order, read_index
from vprlib.pipeline import command, paths
from vprlib.pipeline.params import At, StageParams
from vprlib.pipeline.paths import Side
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.search.approximate import searcher
from vprlib.search.groups import InGroups, others
from vprlib.search.neighbors import NeighborSettings, write_neighbors
from vprlib.search.request import SearchRequest


class Params(StageParams):
    settings: Annotated[NeighborSettings, At("search")]
    asked: Annotated[SearchSettings | None, At("code_defs.{code}.search")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(dataset: str, variant: str, code: str) -> None:
    p, names = Params.load(code=code), (dataset, variant, code)
    sides: tuple[Side, ...] = ("db", "queries")
    files = {side: paths.descriptors(*names, side) for side in sides}
    images = {side: read_index(paths.index(dataset, side)) for side in files}
    for side, path in files.items():
        check_order(path, images[side])
    out, search = paths.neighbors(*names), searcher(paths.search_index(*names), p.asked)
    with (
        opened(files["db"], len(images["db"])) as database,
        opened(files["queries"], len(images["queries"])) as queries,
    ):
        count = p.settings.of(len(images["db"]))
        budget, failed = (p.runtime.memory_bytes, p.runtime.cores), failed_rows(files["db"])
        extra = {side: images[side].extra for side in sides}
        if all(SESSION in columns for columns in extra.values()):  # each asked of the others
            search = InGroups(search, others(extra["queries"][SESSION], extra["db"][SESSION]))
        parts = search(SearchRequest(queries, database, count, *budget, failed))
        facts = {"set": dataset, "variant": variant, "code": code} | {"is_exact": p.asked is None}
        left_out = {"failed_queries": failed_rows(files["queries"]), "failed_database": failed}
        write_neighbors(out, parts, (len(images["queries"]), count), left_out, facts)
    how = "exactly" if p.asked is None else f"by its index, {p.asked.parameters}"
    typer.echo(
        f"{dataset}, {variant}, {code}: searched {len(images['db'])} images {how} for the"
        f" {count} nearest of {len(images['queries'])} queries"
    )


if __name__ == "__main__":
    command.run(main)
