"""Tries approximate indexes on stored descriptors: `python -m vprlib.cli.sweep`."""

import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from vprlib.cli.choice import Choice, choose
from vprlib.descriptors.files import failed_rows, opened_code
from vprlib.descriptors.quantisers import bytes_a_row
from vprlib.descriptors.rows import Rows
from vprlib.descriptors.settings import IndexSettings, SearchSettings
from vprlib.evaluate import charts
from vprlib.images.index import read_index
from vprlib.pipeline import command
from vprlib.pipeline.artifacts import write_bytes, write_json
from vprlib.pipeline.params import At, StageParams, UserError
from vprlib.pipeline.paths import existing
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.places.truth import RadiusOrOwn, Truth, is_right, read_truth, recall_at
from vprlib.search.approximate import Approximate, build, check_index
from vprlib.search.exact import Neighbors, SearchParts, collected
from vprlib.search.hamming import search_parts

COUNT = 20  # neighbours of a query
ROUNDS = 3  # of each search; the fastest counts
HEADER = ("index", "asked", "refine", "R@1", "same@1", "same@20", "ms/query", "build s", "bytes")


class Params(StageParams):
    radius_m: Annotated[RadiusOrOwn, At("datasets.{dataset}.radius_m")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


@dataclass(frozen=True)
class Trial:
    """One index asked in one way."""

    factory: str  # '' for exact search
    parameters: str
    refine: int
    recall_at_1: float  # share of queries whose nearest image shows their place
    same_at_1: float  # share of queries whose nearest image is that of exact search
    same_at_20: float  # share of exact search's twenty that are found
    ms_a_query: float
    build_s: float
    bytes_an_image: float


def default_factories(count: int, dim: int) -> list[str]:
    """For so many descriptors: about four lists to the root of their number, and codes of 64 bytes.

    A graph over more than 200,000 is left to be asked for: it takes hours to build.
    """
    lists = 2 ** max(0, min(round(math.log2(4 * math.sqrt(count))), int(math.log2(count / 16))))
    parts = next(m for m in (64, 32, 16, 8, 4, 2, 1) if dim % m == 0 and 2 * m <= max(2, dim))
    found = [f"IVF{lists},Flat", f"IVF{lists},SQ8"]
    if count >= 256:  # words a part
        found += [f"IVF{lists},PQ{parts}", f"PQ{parts}"]
    return found + (["HNSW32"] if count <= 200_000 else [])


def ways(factory: str, values: Sequence[int]) -> list[str]:
    """What Faiss calls the one thing that trades time for recall, with its values."""
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
    """Exact search first; each index is built in the folder, asked in every way, and removed."""

    def asked(search: SearchParts) -> tuple[Neighbors, float]:
        def once() -> Neighbors:
            budget = runtime.memory_bytes, runtime.cores
            parts = search(queries, database, COUNT, *budget, excluded)
            return collected((found for _, found in parts), COUNT)

        seconds = [timed(once) for _ in range(ROUNDS - 1)]
        start = time.perf_counter()
        found = once()
        fastest = min([*seconds, time.perf_counter() - start])
        return found, 1000 * fastest / max(1, queries.shape[0])

    def trial(
        found: Neighbors, ms: float, built: tuple[str, float, float], way: tuple[str, int]
    ) -> Trial:
        right = recall_at(is_right(found.rows, truth), [1])[1]
        same = float(np.mean(found.rows[:, 0] == exact.rows[:, 0]))
        overlap = float(
            np.mean([np.isin(e, f).mean() for e, f in zip(exact.rows, found.rows, strict=True)])
        )
        return Trial(built[0], *way, right, same, overlap, ms, *built[1:])

    exact, ms = asked(search_parts)
    yield trial(exact, ms, ("", 0.0, bytes_a_row(database)), ("", 0))
    for settings, searches in factories:
        with tempfile.TemporaryDirectory(dir=folder) as name:
            path, budget = Path(name) / "index", (runtime.memory_bytes, runtime.cores)
            start = time.perf_counter()
            facts = build(path, "sweep", database, settings, *budget, excluded)
            seconds = time.perf_counter() - start
            built = (settings.factory, seconds, facts["bytes"] / max(1, database.shape[0]))
            for way in searches:
                found, ms = asked(Approximate(path, way))
                yield trial(found, ms, built, (way.parameters, way.refine))


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


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
    """Aligned text: shares in per cent, bytes of one image in the index (of its descriptor first).

    What an index that refines reads of stored descriptors is beside its own bytes.
    """
    cells = [HEADER, *map(line, found)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEADER))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    )


def curves(found: Sequence[Trial]) -> dict[str, list[tuple[float, float, str]]]:
    """Milliseconds a query, share of exact search's nearest, and the way asked, by index."""
    by_index: dict[str, list[tuple[float, float, str]]] = {}
    for trial in found:
        point = (trial.ms_a_query, trial.same_at_1, trial.parameters.partition("=")[2])
        by_index.setdefault(trial.factory or "exact", []).append(point)
    return by_index


def numbers(text: str) -> list[int]:
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = [0]
    if min(found) < 1:
        raise UserError(f"--values is '{text}', but should be numbers of at least 1: '1,4,16'.")
    return found


def main(
    dataset: str | None = typer.Option(None, "--set", help="default: the first of eval_on"),
    variant: str | None = typer.Option(None, help="default: trained, where it is evaluated"),
    code: str | None = typer.Option(None, help="default: the first of codes"),
    factory: list[str] = typer.Option([], help="Faiss's strings; default: some that suit the size"),
    values: str = typer.Option("1,2,4,8,16,32,64", help="of nprobe (IVF) or efSearch (HNSW)"),
    refine: int = typer.Option(4, min=0, help="as code_defs.<name>.search.refine"),
    train: int = typer.Option(50_000, min=1, help="as code_defs.<name>.index.train"),
    seed: int = typer.Option(1, min=0),
    out: Path = typer.Option(Path("artifacts/sweeps"), help="where JSON and plot go"),
) -> None:
    """Prints recall against exact search, time, and size of approximate indexes, to choose one.

    Descriptors are those that the last `dvc repro` left; no image is read, and nothing is kept but
    a JSON file and a PNG.
    """
    choice = choose(dataset, variant, code)
    p = Params.load(dataset=choice.dataset)
    queries_index = existing(Path(f"data/index/{choice.dataset}/queries.h5"))
    database, asked = read_index(choice.index_path), read_index(queries_index)
    truth = read_truth(queries_index, asked, database, p.radius_m)
    with (
        opened_code(
            choice.coded_path, "database", choice.descriptors_path, len(database)
        ) as stored,
        opened_code(choice.coded_path, "queries", queries_path(choice), len(asked)) as wanted,
    ):
        tried = [
            (
                IndexSettings(factory=name, train=min(train, len(stored)), seed=seed),
                [
                    SearchSettings(parameters=way, refine=1 if name.endswith("Flat") else refine)
                    for way in ways(name, numbers(values))
                ],
            )
            for name in factory or default_factories(*stored.shape)
        ]
        for settings, searches in tried:
            check_index("sweep", settings, searches[0], stored.shape[1])
        out.mkdir(parents=True, exist_ok=True)
        absent = failed_rows(choice.descriptors_path)
        found = list(trials(wanted, stored, truth, tried, p.runtime, out, absent))
    title = f"{choice.dataset}, {choice.variant}, {choice.code}"
    name = f"{choice.dataset}-{choice.variant}-{choice.code}"
    facts = {"set": choice.dataset, "variant": choice.variant, "code": choice.code}
    facts |= {"database": len(database), "queries": len(asked), "cores": p.runtime.cores}
    write_json(out / f"{name}.json", {**facts, "trials": [asdict(trial) for trial in found]})
    write_bytes(out / f"{name}.png", charts.search_curves(curves(found), title))
    typer.echo(f"{title}: {len(database)} images, {len(asked)} queries")
    typer.echo(table(found))
    typer.echo(f"{out / name}.json and .png hold the same.")


def queries_path(choice: Choice) -> Path:
    return existing(Path(f"artifacts/descriptors/{choice.dataset}/{choice.variant}/queries.h5"))


if __name__ == "__main__":
    command.run(main)
