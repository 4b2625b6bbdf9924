"""Approximate search: refused early, built in bounded memory, the same bytes, true distances."""

import errno
import subprocess
import sys
from pathlib import Path

import faiss
import h5py
import numpy as np
import pytest
from disks import raising
from vectors import clusters

from vprlib.descriptors.codes import CodeSettings
from vprlib.descriptors.settings import IndexSettings, SearchSettings
from vprlib.pipeline.params import UserError
from vprlib.search import exact, faiss_index
from vprlib.search.approximate import Approximate, searcher
from vprlib.search.faiss_factory import check_indexes
from vprlib.search.faiss_index import build
from vprlib.search.faiss_training import IndexRequest, train
from vprlib.search.hamming import search_parts
from vprlib.search.lists import INDEX, LISTS, open_lists
from vprlib.search.request import Neighbors, SearchRequest, collect

MEMORY = 2**30
# on the disk, and in memory
FACTORIES = ["IVF8,Flat", "IVF8,SQ8", "IVF8_HNSW4,Flat", "OPQ4,IVF8,PQ4x4", "PCA8,IVF8,SQfp16"]
HELD = ["Flat", "PQ4x4", "HNSW8", "IVF8,PQ4x4fs", "SQ8", "HNSW8_SQ8"]


def settings(factory: str, train: int | None = None, seed: int = 1) -> IndexSettings:
    enough = 200 if "OPQ" in factory else 10_000  # a rotation is slow to learn
    return IndexSettings(factory=factory, train=train or enough, seed=seed)


def asked(parameters: str = "", refine: int = 1) -> SearchSettings:
    return SearchSettings(parameters=parameters, refine=refine)


DATABASE, QUERIES = clusters(1500, 1), clusters(60, 2)


def request(factory: str, memory=MEMORY, threads=1, excluded=None, **options) -> IndexRequest:
    return IndexRequest("c", DATABASE, settings(factory, **options), memory, threads, excluded)


def built(path: Path, factory: str, **options) -> Path:
    build(path, request(factory, **options))
    return path


def exactly(count: int, excluded=None) -> Neighbors:
    return collect(exact.search_parts, SearchRequest(QUERIES, DATABASE, count, MEMORY, 1, excluded))


def through(
    path: Path, how: SearchSettings, count=5, excluded=None, memory=MEMORY, database=DATABASE
) -> Neighbors:
    """What an index finds."""
    asked = SearchRequest(QUERIES, database, count, memory, 1, excluded)
    return collect(Approximate(path, how), asked)


@pytest.mark.parametrize("factory", FACTORIES + HELD)
def test_every_kind_of_index_finds_most_with_true_distances(tmp_path, factory) -> None:
    path = built(tmp_path / "i", factory)
    parameters = "nprobe=4" if "IVF" in factory else ""
    found = through(path, asked(parameters, refine=8))
    exact = exactly(5)
    assert np.mean(found.rows[:, 0] == exact.rows[:, 0]) > 0.9
    own = np.linalg.norm(DATABASE[found.rows].astype(np.float64) - QUERIES[:, None], axis=2)
    np.testing.assert_allclose(found.distances, own, atol=1e-6)
    assert (np.diff(found.distances) >= 0).all()
    assert (path / LISTS).exists() == (factory in FACTORIES)


@pytest.mark.parametrize("factory", ["IVF8,Flat", "IVF8_HNSW4,Flat"])
def test_where_all_lists_are_probed_the_answer_is_the_exact_one(tmp_path, factory) -> None:
    path = built(tmp_path / "i", factory)
    found, exact = through(path, asked("nprobe=8")), exactly(5)
    assert found.rows.tobytes() == exact.rows.tobytes()
    assert found.distances.tobytes() == exact.distances.tobytes()


@pytest.mark.parametrize("factory", ["IVF8,Flat", "OPQ4,IVF8,PQ4x4", "PCA8,IVF8,SQfp16"])
def test_lists_on_disk_answer_as_the_index_that_faiss_fills_in_memory(tmp_path, factory) -> None:
    path = built(tmp_path / "i", factory)
    twin = train(request(factory))
    twin.add(DATABASE)
    ours = open_lists(path)
    for index in (twin, ours):
        faiss.extract_index_ivf(index).nprobe = 3
    for one, other in zip(ours.search(QUERIES, 7), twin.search(QUERIES, 7), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("factory", ["IVF8_HNSW4,Flat", "OPQ4,IVF8,PQ4x4", "HNSW8", "IVF8,PQ4x4fs"])
def test_built_twice_in_blocks_of_any_size_by_any_threads_the_same_bytes(
    tmp_path, monkeypatch, factory
) -> None:
    threads = 1 if "OPQ" in factory else 2  # its products round otherwise by several
    one = built(tmp_path / "one", factory)
    monkeypatch.setattr(faiss_index, "BLOCK_BYTES", 1)  # 1024 rows a block
    built(tmp_path / "two", factory, threads=threads)
    for name in sorted(file.name for file in one.iterdir()):
        assert (one / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_another_seed_trains_on_other_descriptors(tmp_path) -> None:
    indexes = [built(tmp_path / str(s), "IVF8,Flat", train=100, seed=s) for s in (1, 2)]
    assert (indexes[0] / INDEX).read_bytes() != (indexes[1] / INDEX).read_bytes()


@pytest.mark.parametrize("factory", ["IVF8,Flat", "HNSW8"])
def test_excluded_rows_are_never_found(tmp_path, factory) -> None:
    excluded = np.unique(exactly(1).rows)
    path = built(tmp_path / "i", factory, excluded=excluded)
    found = through(path, asked("nprobe=8" if "IVF" in factory else "efSearch=200"), 5, excluded)
    exact = exactly(5, excluded)
    assert not np.isin(found.rows, excluded).any()
    assert np.mean(found.rows[:, 0] == exact.rows[:, 0]) > 0.9
    with pytest.raises(UserError, match=r"has 14\d\d descriptors .*, but the database has 1500"):
        through(path, asked())


def test_fewer_found_than_asked_for_are_marked(tmp_path) -> None:
    path = built(tmp_path / "i", "IVF64,Flat")
    found = through(path, asked("nprobe=1"), 200)
    nothing = found.rows < 0
    assert nothing.any() and np.isinf(found.distances[nothing]).all()
    assert np.isfinite(found.distances[~nothing]).all()
    assert all(len(found.of(q)) == n for q, n in enumerate((~nothing).sum(axis=1)))
    assert (np.diff(nothing.astype(int), axis=1) >= 0).all()  # they come last


def test_more_refining_finds_more(tmp_path) -> None:
    path = built(tmp_path / "i", "PQ2x4")
    exact = exactly(1).rows[:, 0]
    shares = [
        np.mean(through(path, asked("", refine), 1).rows[:, 0] == exact) for refine in (1, 20, 1500)
    ]
    assert shares[0] < shares[1] < shares[2] == 1


def test_without_refining_distances_are_the_index_s_own(tmp_path) -> None:
    path = built(tmp_path / "i", "PQ4x4")
    squared, rows = open_lists(path).search(QUERIES, 5)
    found = through(path, asked("", refine=0))
    np.testing.assert_allclose(found.distances, np.sqrt(squared), rtol=1e-6)
    assert np.mean(found.rows == rows) > 0.9  # but for equal distances, which come by row


def test_small_blocks_and_descriptors_on_disk_change_nothing(tmp_path, monkeypatch) -> None:
    path = built(tmp_path / "i", "IVF8,Flat")
    whole = through(path, asked("nprobe=2", 4))
    with h5py.File(tmp_path / "d.h5", "w") as file:
        rows = file.create_dataset("d", data=DATABASE)
        found = through(path, asked("nprobe=2", 4), memory=2**18, database=rows)
    assert found.rows.tobytes() == whole.rows.tobytes()
    assert found.distances.tobytes() == whole.distances.tobytes()


@pytest.mark.parametrize(
    ("factory", "dim", "problem"),
    [
        ("IVX8,Flat", None, "'IVX8,Flat', and Faiss cannot make an index .*could not parse"),
        ("", 16, "'', and Faiss cannot make an index of it"),
        ("IVF8,PQ5", 16, "number after PQ must divide the dimensions, here 16"),
        ("PQ11", None, "number after PQ must divide the dimensions"),
        ("IVF8,PQ4,RFlat", 16, r"a IndexRefineFlat: use Flat, .*\(search.refine replaces"),
        ("IDMap,Flat", 16, "a IndexIDMap: use Flat"),
        ("IVF200,Flat", 16, "has 200 lists and needs as many .*there are 199: .*or raise train"),
        ("IVF8,PQ4", 16, "has 256 words per part and needs as many .*there are 199"),
    ],
)
def test_what_faiss_cannot_build_is_refused_before_anything_runs(factory, dim, problem) -> None:
    code = CodeSettings(keep={"whiten": dim}, index=settings(factory, train=199), search=asked())
    with pytest.raises(UserError, match=rf"^params\.yaml: code_defs\.c\.index.*{problem}"):
        check_indexes({"c": code})


@pytest.mark.parametrize("factory", ["OPQ64,IVF1024,PQ64", "HNSW32", "IVF256,SQ8", "PQ64x8"])
def test_what_faiss_can_build_passes_with_and_without_known_dimensions(factory) -> None:
    parameters = "nprobe=16" if "IVF" in factory else ""
    for dim in (None, 512):
        index = settings(factory, train=2000)
        check_indexes(
            {"c": CodeSettings(keep={"whiten": dim}, index=index, search=asked(parameters))}
        )


@pytest.mark.parametrize("parameters", ["nprob=4", "efSearch=4"])
def test_search_parameters_that_an_index_does_not_have_are_refused(parameters) -> None:
    code = CodeSettings(keep={"whiten": 16}, index=settings("IVF8,Flat"), search=asked(parameters))
    with pytest.raises(UserError, match=rf"parameters is '{parameters}', which IVF8,Flat does not"):
        check_indexes({"c": code})


@pytest.mark.parametrize(
    "parameters", ["nprobe", "nprobe=x", "nprobe=0", "=3", "nprobe=1,", "a b=1"]
)
def test_search_parameters_are_positive_numbers_by_name(parameters) -> None:
    with pytest.raises(ValueError, match="should be numbers by name, such as 'nprobe=16'"):
        asked(parameters)


def test_an_index_and_the_way_it_is_asked_belong_together() -> None:
    with pytest.raises(ValueError, match="it has `index`, which has no use while `search` is null"):
        CodeSettings(index=settings("HNSW8"))
    with pytest.raises(ValueError, match="it has `search`, which has no use while `index` is null"):
        CodeSettings(search=asked())


@pytest.mark.parametrize("factory", ["IVF2000,Flat", "PQ4x11"])
def test_fewer_descriptors_than_lists_or_words_are_refused(tmp_path, factory) -> None:
    with pytest.raises(UserError, match=r"needs as many .*, but there are 1500: take smaller num"):
        built(tmp_path / "i", factory)
    assert not list(tmp_path.iterdir())


def test_what_does_not_fit_the_memory_is_refused(tmp_path, monkeypatch) -> None:
    with pytest.raises(UserError, match=r"index.train: 1500 descriptors of 16 dim.*more than half"):
        built(tmp_path / "i", "IVF8,Flat", memory=2**17)
    with pytest.raises(UserError, match="HNSW8 is held in memory, and 1500 descriptors take"):
        built(tmp_path / "i", "HNSW8", memory=2**18)
    assert not list(tmp_path.iterdir())
    path = built(tmp_path / "i", "HNSW8")
    with pytest.raises(UserError, match=r"index\.faiss takes .* more than half of runtime.memory"):
        through(path, asked(), memory=2**18)


def test_a_code_without_an_index_is_searched_exactly(tmp_path) -> None:
    assert searcher(tmp_path, None) is search_parts
    with pytest.raises(UserError, match=r"none/index\.faiss is missing: .*run `dvc repro`"):
        through(tmp_path / "none", asked())


def test_a_killed_or_failed_build_leaves_nothing(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(faiss_index, "write_lists", raising(errno.ENOSPC))
    with pytest.raises(UserError, match="no space left on the disk; free some"):
        built(tmp_path / "i", "IVF8,Flat")
    assert not list(tmp_path.iterdir())


def test_building_and_searching_do_not_load_torch() -> None:
    modules = "vprlib.search.approximate, vprlib.search.faiss_index"
    code = f"import sys, {modules}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
