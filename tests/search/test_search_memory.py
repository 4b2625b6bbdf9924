"""Search and building keep to their budget, as the peak share of a process of their own shows."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from benchmarks.search import Case, described, exact, measured, restricted
from vprlib.descriptors.settings import IndexSettings
from vprlib.search.exact import search_parts
from vprlib.search.faiss_index import build
from vprlib.search.faiss_training import IndexRequest
from vprlib.search.request import SearchRequest, collect
from vprlib.search.sequences import InSequences, SequenceSettings

COUNT, DIM = 60_000, 2_048  # 246 MB as float16, 492 MB as float32


def built(path: str, out: str, memory_gib: float) -> Case:
    settings = IndexSettings(factory="IVF64,Flat", train=3_000, seed=1)
    with h5py.File(path) as file:
        budget = int(memory_gib * 2**30), 1
        return vars(build(Path(out), IndexRequest("c", file["database"], settings, *budget)))


def sequenced(path: str, memory_gib: float) -> Case:
    """Sequences of five frames, and every other row alone."""
    with h5py.File(path) as file:
        sides, rows = (file["queries"], file["database"]), np.arange(0, COUNT, 2)
        request = SearchRequest(*sides, 20, int(memory_gib * 2**30), 1, None, rows)
        labels = np.zeros(len(file["queries"])), np.zeros(COUNT)
        along = InSequences(SequenceSettings(frames=5), *labels, rows[:0])
        return {"found": [int((collect(s, request).rows % 2).sum()) for s in (along, search_parts)]}


@pytest.mark.slow
def test_descriptors_larger_than_the_budget_are_searched_and_indexed_within_it(tmp_path) -> None:
    described(tmp_path / "d.h5", COUNT, 200, DIM, "f2")
    whole = 4 * COUNT * DIM
    budget = 0.4
    assert whole > 1.1 * budget * 2**30
    found = measured(exact, str(tmp_path / "d.h5"), budget)
    assert found["peak_bytes"] < 1.1 * budget * 2**30
    some = measured(sequenced, str(tmp_path / "d.h5"), budget)
    assert some["found"] == [0, 0] and some["peak_bytes"] < 1.1 * budget * 2**30
    made = measured(built, str(tmp_path / "d.h5"), str(tmp_path / "index"), budget)
    assert made["bytes"] > whole and made["peak_bytes"] < 1.1 * budget * 2**30


def test_what_is_described_is_found_again(tmp_path) -> None:
    described(tmp_path / "d.h5", 100, 10, 64, "f2")
    assert exact(str(tmp_path / "d.h5"), 1)["seconds"] > 0
    with h5py.File(tmp_path / "d.h5") as file:
        assert file["database"].dtype == np.float16 and file["queries"].shape == (10, 64)


def test_restricted_search_is_measured_against_the_full_one(tmp_path) -> None:
    described(tmp_path / "d.h5", 3000, 10, 64, "f2")
    found = restricted(str(tmp_path / "d.h5"), 30)
    assert found["run_10_ratio"] == found["run_10_s"] / found["all_10_s"]
    assert found["scattered_1_ratio"] == found["scattered_1_s"] / found["all_1_s"]
