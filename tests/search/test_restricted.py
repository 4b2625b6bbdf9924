"""Restricted search: the full search's results, without the rows that were not allowed."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from vectors import unit

from vprlib.descriptors.quantisers import Coded, Quantiser, learn
from vprlib.descriptors.rows import Rows
from vprlib.descriptors.settings import IndexSettings, SearchSettings
from vprlib.search import approximate
from vprlib.search.approximate import Approximate
from vprlib.search.faiss_index import build
from vprlib.search.faiss_training import IndexRequest
from vprlib.search.groups import Group, InGroups, others
from vprlib.search.hamming import search_parts
from vprlib.search.request import Neighbors, SearchRequest, collect

ROWS, QUERIES, DIM, MEMORY = 1500, 40, 16, 2**28
DRAW = np.random.default_rng(5)
SCATTERED = np.sort(DRAW.permutation(ROWS)[:300])
ALLOWED = {
    "runs": np.r_[10:100, 700:701, 1200:1500],
    "scattered": SCATTERED,
    "unordered": SCATTERED[::-1],
    "one": np.array([77]),
    "all": np.arange(ROWS),
}


def sides(kind: str, folder: Path) -> tuple[Rows, Rows]:
    """Queries and a database, many of whose rows are equal."""
    vectors = unit(ROWS, DIM, 2)
    vectors[1000:] = vectors[:500]
    queries = unit(QUERIES, DIM, 3)
    if kind == "float32":
        return queries, vectors
    file = h5py.File(folder / "d.h5", "w")
    if kind == "chunked":
        return queries, file.create_dataset("d", data=vectors, chunks=(7, DIM))
    if kind == "float16":
        return queries, file.create_dataset("d", data=vectors.astype(np.float16))
    precision = kind.removesuffix("-queries")
    learnt = learn(precision, [vectors], 4, 1, 1)
    quantiser = Quantiser(precision, DIM, learnt)
    database = Coded(file.create_dataset("d", data=quantiser.encode(vectors)), quantiser)
    if kind == precision:
        return queries, database
    asked = file.create_dataset("q", data=quantiser.encode(queries))
    return Coded(asked, quantiser), database


KINDS = ["float32", "chunked", "float16", "int8", "pq", "binary", "binary-queries"]


def only(full: Neighbors, among: np.ndarray, count: int) -> Neighbors:
    """The obvious way: walks through the full ranking of each query."""
    rows = np.full((len(full.rows), count), -1)
    distances = np.full(rows.shape, np.inf, np.float32)
    allowed = set(among.tolist())
    for query in range(len(rows)):
        kept = [(row, far) for row, far in full.of(query) if row in allowed][:count]
        for rank, (row, far) in enumerate(kept):
            rows[query, rank], distances[query, rank] = row, far
    return Neighbors(rows, distances)


def check(found: Neighbors, expected: Neighbors) -> None:
    np.testing.assert_array_equal(found.rows, expected.rows)
    assert found.distances.tobytes() == expected.distances.tobytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("memory", [MEMORY, 1])
def test_exact_search_among_rows_is_the_full_ranking_without_the_others(
    tmp_path, kind, memory
) -> None:
    pair = sides(kind, tmp_path)
    full = collect(search_parts, SearchRequest(*pair, ROWS, MEMORY, 1))
    for among in ALLOWED.values():
        found = collect(search_parts, SearchRequest(*pair, 9, memory, 1, None, among))
        check(found, only(full, among, 9))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_excluded_is_not_found_even_if_it_is_allowed(tmp_path, kind) -> None:
    pair = sides(kind, tmp_path)
    among, excluded = np.arange(100), np.arange(50, 200)
    found = collect(search_parts, SearchRequest(*pair, 9, MEMORY, 1, excluded, among))
    check(found, collect(search_parts, SearchRequest(*pair, 9, MEMORY, 1, None, among[:50])))


@pytest.mark.parametrize("kind", KINDS)
def test_where_nothing_is_allowed_nothing_is_found(tmp_path, kind) -> None:
    among = np.zeros(0, np.int64)
    request = SearchRequest(*sides(kind, tmp_path), 9, MEMORY, 1, None, among)
    found = collect(search_parts, request)
    assert found.rows.shape == (QUERIES, 9) and (found.rows == -1).all()
    assert np.isinf(found.distances).all()


@pytest.mark.parametrize("among", ["runs", "scattered"])
def test_only_the_allowed_rows_are_read(tmp_path, among) -> None:
    queries, vectors = sides("float32", tmp_path)
    broken = np.full_like(vectors, np.nan)
    broken[ALLOWED[among]] = vectors[ALLOWED[among]]
    for rows in (broken, h5py.File(tmp_path / "d.h5", "w").create_dataset("d", data=broken)):
        found = collect(search_parts, SearchRequest(queries, rows, 9, 1, 1, None, ALLOWED[among]))
        assert np.isfinite(found.distances).all()


# those whose search visits the same candidates, and those that take no selector
FACTORIES = ["IVF8,Flat", "IVF8,SQ8", "IVF8_HNSW4,Flat", "OPQ4,IVF8,PQ4x4", "PCA8,IVF8,SQfp16"]
HELD = ["Flat", "SQ8", "PCA8,Flat", "IVF8,PQ4x4fs"]
EXACTLY = ["PQ4x4", "PQ4x4fs", "OPQ4,PQ4x4"]
GRAPHS = ["HNSW8", "HNSW8_SQ8"]


def index(folder: Path, factory: str, database: Rows, refine: int, excluded=None) -> Approximate:
    settings = IndexSettings(factory=factory, train=200 if "OPQ" in factory else ROWS, seed=1)
    build(folder, IndexRequest("c", database, settings, MEMORY, 1, excluded))
    parameters = "nprobe=3" if "IVF" in factory else ""
    return Approximate(folder, SearchSettings(parameters=parameters, refine=refine))


@pytest.fixture
def by_index(monkeypatch) -> None:
    """The index is asked even for few rows."""
    monkeypatch.setattr(approximate, "FEW_ROWS", 0)


@pytest.mark.parametrize("factory", FACTORIES + HELD)
@pytest.mark.parametrize("among", ["runs", "scattered"])
def test_an_index_finds_what_its_full_search_finds_among_the_rows(
    tmp_path, by_index, factory, among
) -> None:
    queries, database = unit(QUERIES, DIM, 3), unit(ROWS, DIM, 2)
    found = index(tmp_path / "i", factory, database, refine=1)
    allowed = ALLOWED[among]
    full = collect(found, SearchRequest(queries, database, ROWS, MEMORY, 1))
    request = SearchRequest(queries, database, len(allowed), MEMORY, 1, None, allowed)
    check(collect(found, request), only(full, allowed, len(allowed)))


@pytest.mark.parametrize("factory", FACTORIES + HELD + GRAPHS + EXACTLY)
@pytest.mark.parametrize("refine", [0, 4])
def test_an_index_finds_allowed_rows_only(tmp_path, by_index, factory, refine) -> None:
    queries, database = unit(QUERIES, DIM, 3), unit(ROWS, DIM, 2)
    excluded, among = np.arange(0, ROWS, 7), np.arange(3, 1200)
    found = collect(
        index(tmp_path / "i", factory, database, refine, excluded),
        SearchRequest(queries, database, 9, MEMORY, 1, excluded, among),
    )
    assert (found.rows >= 0).mean() > 0.9
    assert np.isin(found.rows, [-1, *np.setdiff1d(among, excluded)]).all()
    if refine:
        own = np.linalg.norm(database[found.rows].astype(np.float64) - queries[:, None], axis=2)
        own[found.rows < 0] = np.inf
        np.testing.assert_allclose(found.distances, own, atol=1e-6)


@pytest.mark.parametrize("factory", ["IVF8,Flat", "HNSW8", "PQ4x4"])
def test_few_rows_are_searched_exactly_even_with_an_index(tmp_path, factory) -> None:
    queries, database = unit(QUERIES, DIM, 3), unit(ROWS, DIM, 2)
    request = SearchRequest(queries, database, 9, MEMORY, 1, None, SCATTERED)
    found = collect(index(tmp_path / "i", factory, database, refine=1), request)
    check(found, collect(search_parts, request))


def test_a_small_share_of_a_graph_is_searched_exactly(tmp_path, by_index) -> None:
    queries, database = unit(QUERIES, DIM, 3), unit(ROWS, DIM, 2)
    graph = index(tmp_path / "i", "HNSW8", database, refine=1)
    for among, is_exact in ((SCATTERED[:70], True), (SCATTERED[:80], False)):
        request = SearchRequest(queries, database, 9, MEMORY, 1, None, among)
        found, exact = collect(graph, request), collect(search_parts, request)
        assert (found.rows.tobytes() == exact.rows.tobytes()) == is_exact


def one_by_one(pair: tuple[Rows, Rows], groups: list[Group], count: int) -> Neighbors:
    """The obvious way: each query out of the full ranking of all."""
    full = collect(search_parts, SearchRequest(*pair, ROWS, MEMORY, 1))
    rows = np.full((QUERIES, count), -1)
    distances = np.full(rows.shape, np.inf, np.float32)
    for group in groups:
        found = only(full, group.among, count)
        for query in group.queries:
            rows[query], distances[query] = found.rows[query], found.distances[query]
    return Neighbors(rows, distances)


@pytest.mark.parametrize("kind", KINDS)
def test_groups_of_queries_find_each_their_own_rows_in_the_order_of_the_queries(
    tmp_path, monkeypatch, kind
) -> None:
    pair = sides(kind, tmp_path)
    groups = [
        Group(np.arange(1, QUERIES, 3)[::-1], ALLOWED["runs"]),
        Group(np.arange(2, QUERIES, 3), np.arange(4)),
        Group(np.array([0, 30]), np.zeros(0, np.int64)),
    ]
    search, expected = InGroups(search_parts, groups), one_by_one(pair, groups, 7)
    check(collect(search, SearchRequest(*pair, 7, MEMORY, 1)), expected)
    monkeypatch.setattr("vprlib.search.groups.PART", 50)  # several parts of queries
    check(collect(search, SearchRequest(*pair, 7, MEMORY, 1)), expected)


def test_a_session_is_asked_of_the_others() -> None:
    labels, database_labels = np.array(["b", "a", "b", "c"]), np.array(["a", "a", "b", "d"])
    database = unit(4, 8)
    groups = others(labels, database_labels)
    assert {tuple(group.queries): group.among.tolist() for group in groups} == {
        (1,): [2, 3],
        (0, 2): [0, 1, 3],
        (3,): [0, 1, 2, 3],
    }
    queries = database[[2, 0, 2, 3]]
    found = collect(InGroups(search_parts, groups), SearchRequest(queries, database, 1, MEMORY, 1))
    assert (database_labels[found.rows[:, 0]] != labels).all()
    assert found.rows[3, 0] == 3
