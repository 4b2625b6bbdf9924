"""Compares approximate indexes on stored descriptors: `vpr index sweep`."""

import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from vprlib.cli import options, output
from vprlib.cli.choice import choose
from vprlib.descriptors.quantisers import bytes_a_row
from vprlib.descriptors.rows import Rows
from vprlib.descriptors.settings import IndexSettings, SearchSettings
from vprlib.images.index import read_index
from vprlib.pipeline import paths
from vprlib.pipeline.artifacts import write_bytes, write_json
from vprlib.pipeline.explained import explaining
from vprlib.pipeline.params import At, StageParams, UserError
from vprlib.pipeline.paths import existing
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.places.truth import RadiusOrOwn, Truth, is_right, read_truth, recall_at
from vprlib.search.approximate import Approximate
from vprlib.search.faiss_factory import check_index
from vprlib.search.faiss_index import build
from vprlib.search.faiss_training import IndexRequest
from vprlib.search.hamming import search_parts
from vprlib.search.request import Neighbors, Searcher, SearchRequest, collect

COUNT = 20  # neighbors of a query
ROUNDS = 3  # of each search; the fastest counts
HEADER = ("index", "search", "refine", "R@1", "same@1", "same@20", "ms/query", "build s", "bytes")


class Params(StageParams):
    radius_m: Annotated[RadiusOrOwn, At("datasets.{dataset}.radius_m")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


@dataclass(frozen=True)
class Trial:
    """One index searched with one choice of parameters."""

    factory: str  # '' for exact search
    parameters: str
    refine: int
    recall_at_1: float
    same_at_1: float  # share of queries with the same nearest image as in exact search
    same_at_20: float  # share of exact search's twenty neighbors that are found
    ms_a_query: float
    build_s: float
    bytes_an_image: float


def default_factories(count: int, dim: int) -> list[str]:
    """About 4 √count lists, and codes of 64 bytes.

    A graph over more than 200,000 descriptors takes hours to build, so it must be asked for.
    """
    lists = 2 ** max(0, min(round(math.log2(4 * math.sqrt(count))), int(math.log2(count / 16))))
    parts = next(m for m in (64, 32, 16, 8, 4, 2, 1) if dim % m == 0 and 2 * m <= max(2, dim))
    found = [f"IVF{lists},Flat", f"IVF{lists},SQ8"]
    if count >= 256:  # words per part
        found += [f"IVF{lists},PQ{parts}", f"PQ{parts}"]
    return found + (["HNSW32"] if count <= 200_000 else [])


def search_parameters(factory: str, values: Sequence[int]) -> list[str]:
    """The one parameter of an index that trades time for recall, with each value."""
    name = "nprobe" if "IVF" in factory else "efSearch" if "HNSW" in factory else ""
    return [f"{name}={value}" for value in values] if name else [""]


def trials(
    queries: Rows,
    database: Rows,
    truth: Truth,
    factories: Sequence[tuple[IndexSettings, Sequence[SearchSettings]]],
    runtime: RuntimeSettings,
    folder: Path,
    excluded: np.ndarray | None = None,
) -> Iterator[Trial]:
    """Exact search first; each index is built in the folder, searched, and removed."""
    budget = runtime.memory_bytes, runtime.cores
    request = SearchRequest(queries, database, COUNT, *budget, excluded)
    exact, ms = search_timed(search_parts, request)

    def trial(
        found: Neighbors, ms: float, factory: str, how: tuple[str, int], built: tuple[float, float]
    ) -> Trial:
        recall = recall_at(is_right(found.rows, truth), [1])[1]
        same = float(np.mean(found.rows[:, 0] == exact.rows[:, 0]))
        pairs = zip(exact.rows, found.rows, strict=True)
        overlap = float(np.mean([np.isin(one, other).mean() for one, other in pairs]))
        return Trial(factory, *how, recall, same, overlap, ms, *built)

    yield trial(exact, ms, "", ("", 0), (0.0, bytes_a_row(database)))
    for settings, searches in factories:
        with tempfile.TemporaryDirectory(dir=folder) as name:
            path, start = Path(name) / "index", time.perf_counter()
            facts = build(path, IndexRequest("sweep", database, settings, *budget, excluded))
            bytes_each = facts.bytes / max(1, database.shape[0])
            built = time.perf_counter() - start, bytes_each
            for how in searches:
                found, ms = search_timed(Approximate(path, how), request)
                yield trial(found, ms, settings.factory, (how.parameters, how.refine), built)


def search_timed(searcher: Searcher, request: SearchRequest) -> tuple[Neighbors, float]:
    """What is found, and the milliseconds per query of the fastest round."""
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        found = collect(searcher, request)
        seconds.append(time.perf_counter() - start)
    return found, 1000 * min(seconds) / max(1, request.queries.shape[0])


def line(trial: Trial) -> tuple[str, ...]:
    return (
        trial.factory or "exact",
        trial.parameters,
        str(trial.refine or ""),
        f"{100 * trial.recall_at_1:.1f}",
        f"{100 * trial.same_at_1:.1f}",
        f"{100 * trial.same_at_20:.1f}",
        f"{trial.ms_a_query:.3f}",
        f"{trial.build_s:.1f}",
        f"{trial.bytes_an_image:.0f}",
    )


def table(found: Sequence[Trial]) -> str:
    """Aligned text: shares in per cent, and bytes per image in the index.

    Stored descriptors, which refining reads, do not count as bytes of an index.
    """
    return output.aligned([HEADER, *map(line, found)], left=(0, 1))


def curves(found: Sequence[Trial]) -> dict[str, list[tuple[float, float, str]]]:
    """By index: milliseconds per query, share with the exact nearest image, and parameter value."""
    by_index: dict[str, list[tuple[float, float, str]]] = {}
    for trial in found:
        point = (trial.ms_a_query, trial.same_at_1, trial.parameters.partition("=")[2])
        by_index.setdefault(trial.factory or "exact", []).append(point)
    return by_index


def parse_values(text: str) -> list[int]:
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = [0]
    if min(found) < 1:
        raise UserError(f"--values is '{text}', but must be numbers of at least 1, such as '1,4'.")
    return found


def main(
    dataset: options.Dataset = None,
    variant: options.Variant = None,
    code: options.Code = None,
    factory: Annotated[
        list[str] | None, typer.Option(help="code_defs.<name>.index.factory; may be repeated")
    ] = None,
    values: Annotated[
        str, typer.Option(help="values of nprobe (IVF) or efSearch (HNSW) to try")
    ] = "1,2,4,8,16,32,64",
    refine: Annotated[int, typer.Option(min=0, help="code_defs.<name>.search.refine")] = 4,
    train: Annotated[int, typer.Option(min=1, help="code_defs.<name>.index.train")] = 50_000,
    seed: Annotated[int, typer.Option(min=0, help="code_defs.<name>.index.seed")] = 1,
    out: options.Out = Path("artifacts/sweeps"),
    as_json: options.AsJson = False,
) -> None:
    """Compare recall, time and size of approximate indexes with exact search, to choose one.

    Reads the descriptors of the last `dvc repro`, but no images. Also writes the table as JSON and
    as a plot into the folder --out.
    """
    from vprlib.evaluate import charts  # loads matplotlib

    choice = choose(dataset, variant, code)
    p = Params.load(dataset=choice.dataset)
    queries_index = existing(paths.index(choice.dataset, "queries"))
    database, queries = read_index(choice.index_path), read_index(queries_index)
    truth = read_truth(queries_index, queries, database, p.radius_m)
    with (
        choice.descriptors("db", len(database)) as stored,
        choice.descriptors("queries", len(queries)) as searched,
    ):
        indexes = [
            (
                IndexSettings(factory=name, train=min(train, stored.shape[0]), seed=seed),
                [
                    SearchSettings(parameters=text, refine=1 if name.endswith("Flat") else refine)
                    for text in search_parameters(name, parse_values(values))
                ],
            )
            for name in factory or default_factories(*stored.shape)
        ]
        for settings, searches in indexes:
            check_index("sweep", settings, searches[0], stored.shape[1])
        with explaining(out):
            out.mkdir(parents=True, exist_ok=True)
        given = (p.runtime, out, choice.failed_rows())
        found = list(trials(searched, stored, truth, indexes, *given))
    title, name = choice.title, "-".join(choice)
    answer = {
        **dict(zip(("set", "variant", "code"), choice, strict=True)),
        "database": len(database),
        "queries": len(queries),
        "cores": p.runtime.cores,
        "trials": [asdict(trial) for trial in found],
    }
    write_json(out / f"{name}.json", answer)
    write_bytes(out / f"{name}.png", charts.search_curves(curves(found), title))
    if as_json:
        output.echo_json(answer)
        return
    typer.echo(f"{title}: {len(database)} images, {len(queries)} queries")
    typer.echo(table(found))
    typer.echo(f"also in {out / name}.json and .png")
