"""Exact search in a map: the engine proposes candidates, which are measured again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import faiss
import numpy as np

from vprlib.descriptors.rows import squared_between
from vprlib.pipeline.params import JsonObject
from vprlib.search.exact import nearest_first
from vprlib.search.request import Neighbors, no_neighbors
from vprlib.stores.area import Area
from vprlib.stores.facts import Facts
from vprlib.stores.store import Hit, Version

SPARE = 8  # more candidates than neighbors
GROWTH = 4
MOST = 20_000  # candidates of a query; where as many are equally near, any of them are taken
TOGETHER = 32  # queries that the engine gets at once
ROUNDING = 1e-5  # relative, of the engine's distances: ten times the largest seen


@dataclass(frozen=True)
class Found:
    """The neighbors of queries, and what the map says of each row among them."""

    neighbors: Neighbors
    payloads: dict[int, JsonObject]


def nearest(
    version: Version,
    queries: np.ndarray,
    count: int,
    areas: list[Area | None],
    exact: bool = True,
) -> Found:
    """The `count` nearest of each query [Q, D] in its area, as Faiss would find them."""
    faiss.omp_set_num_threads(1)  # waking others takes 15 ms, measuring the candidates 0.1 ms
    count = min(count, version.facts.rows)
    found = no_neighbors((len(queries), count))
    payloads: dict[int, JsonObject] = {}
    for area, numbers in _by_area(areas):
        for at in range(0, len(numbers), TOGETHER):
            part = numbers[at : at + TOGETHER]
            wanted = count + SPARE
            while len(part):
                hits = _search(version, queries[part], wanted, area, exact)
                unsure = []
                for query, near in zip(part, hits, strict=True):
                    vector = queries[query]
                    rows, distances, is_sure = _measured(
                        version.facts, vector, near, wanted, count, area, exact
                    )
                    if not is_sure and wanted < min(MOST, version.facts.rows):
                        unsure.append(query)
                        continue
                    found.rows[query, : len(rows)] = rows
                    found.distances[query, : len(rows)] = distances
                    kept = set(rows.tolist())
                    payloads |= {hit.row: hit.payload for hit in near if hit.row in kept}
                part, wanted = np.array(unsure, np.int64), wanted * GROWTH
    return Found(found, payloads)


def _search(
    version: Version, queries: np.ndarray, wanted: int, area: Area | None, exact: bool
) -> list[list[Hit]]:
    most = min(wanted, MOST, version.facts.rows)
    return version.search(version.facts.numbers(queries), most, area, exact)


def _measured(
    facts: Facts,
    query: np.ndarray,
    hits: list[Hit],
    wanted: int,
    count: int,
    area: Area | None,
    exact: bool,
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Rows and true distances of the `count` nearest, and whether no other row can be nearer."""
    if not hits:
        return np.zeros(0, np.int64), np.zeros(0, np.float32), True
    numbers = np.array([hit.numbers for hit in hits], np.float32)
    vectors = np.ascontiguousarray(facts.vectors(numbers), np.float32)
    rows = np.array([hit.row for hit in hits], np.int64)
    every = np.arange(len(rows))
    one = np.ascontiguousarray(query[None], np.float32)
    squared = squared_between(one, np.zeros(len(rows), np.int64), vectors, every)
    is_inside = np.ones(len(rows), bool)
    if area is not None:
        is_inside = area.is_inside(positions_of([hit.payload for hit in hits], area.in_degrees))
    inner, distances = nearest_first(rows[None, is_inside], squared[None, is_inside], count)
    inner, distances = inner[0], np.sqrt(distances[0])
    if len(hits) < wanted:
        return inner, distances, True  # there are no more
    if len(inner) < count:
        return inner, distances, False
    if not exact:
        return inner, distances, True
    # of all others, the engine's distance to the rounded query is at least that of the last hit
    beyond = hits[-1].distance * facts.scale * (1 - ROUNDING) - float(facts.shift(one)[0])
    return inner, distances, float(distances[-1]) <= beyond


def positions_of(payloads: Sequence[JsonObject], in_degrees: bool) -> np.ndarray:
    """Longitudes and latitudes, or metres [n, 2]; NaN where unknown."""
    names = ("lon", "lat") if in_degrees else ("x", "y")
    holders = [p.get("place") or {} if in_degrees else p for p in payloads]
    values = [[h.get(name, np.nan) for name in names] for h in holders]
    return np.array(values, float).reshape(-1, 2)


def _by_area(areas: list[Area | None]) -> Iterator[tuple[Area | None, np.ndarray]]:
    """Each area, and the queries that have it."""
    groups: dict[int, list[int]] = {}
    for number, area in enumerate(areas):
        groups.setdefault(id(area), []).append(number)
    for numbers in groups.values():
        yield areas[numbers[0]], np.array(numbers)
