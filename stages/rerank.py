"""Looks again at the first results of each query, and orders them by their inliers."""

import time
from typing import Annotated

import typer

from vprlib.evaluate.predictions import read_predictions
from vprlib.images.index import ImageIndex
from vprlib.pipeline import command, paths
from vprlib.pipeline.params import At
from vprlib.pipeline.paths import Side
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.search.request import Neighbors
from vprlib.verify.features import BYTES_PER_PAIR
from vprlib.verify.keypoints import opened_keypoints
from vprlib.verify.rerank import rerank, write_reranked
from vprlib.verify.settings import MatchSettings


class Params(MatchSettings):
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(dataset: str, variant: str, code: str) -> None:
    p, names, start = Params.load(), (dataset, variant, code), time.perf_counter()
    found = read_predictions(paths.predictions(*names), paths.index(dataset, "db").parent)
    sides: dict[Side, ImageIndex] = {"db": found.database, "queries": found.queries}
    with opened_keypoints(paths.keypoints(dataset), sides) as stored:
        bytes_each = BYTES_PER_PAIR * max(side.most for side in stored.values()) ** 2
        results = Neighbors(found.rows, found.distances)
        made = rerank(stored["queries"], stored["db"], results, p, bytes_each, p.runtime)
    about = {"set": dataset, "variant": variant, "code": code}
    write_reranked(paths.reranked(*names), made, about)
    moved, pairs = (made.ranks[:, :1] > 0).sum(), (made.inliers >= 0).sum()
    typer.echo(
        f"{dataset}, {variant}, {code}: {pairs} pairs in {time.perf_counter() - start:.0f} s;"
        f" {100 * moved / max(1, len(made.ranks)):.1f} % of the first results are others"
    )


if __name__ == "__main__":
    command.run(main)
