"""The sweep: exact search first, then every index in every way, in one table, plot and file."""

import numpy as np
import pytest
from vectors import unit

from vprlib.cli.sweep import (
    curves,
    default_factories,
    parse_values,
    search_parameters,
    table,
    trials,
)
from vprlib.descriptors.settings import IndexSettings, SearchSettings
from vprlib.evaluate.charts import search_curves
from vprlib.pipeline.params import UserError
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.places.truth import Near


@pytest.fixture
def found(tmp_path):
    database, queries = unit(600, 8, 1), unit(40, 8, 2)
    places = np.stack([np.arange(600.0), np.zeros(600)], axis=1)
    truth = Near(places[:40], places, 25.0)
    tried = [
        (
            IndexSettings(factory=factory, train=600, seed=1),
            [
                SearchSettings(parameters=text, refine=1)
                for text in search_parameters(factory, [1, 4, 16])
            ],
        )
        for factory in ("IVF16,Flat", "PQ4x4")
    ]
    runtime = RuntimeSettings(device="cpu", threads=1)
    result = list(trials(queries, database, truth, tried, runtime, tmp_path))
    assert not list(tmp_path.iterdir())  # nothing is left of the indexes
    return result


def test_recall_against_exact_search_rises_with_what_is_probed(found) -> None:
    exact, *ivf, pq = found
    assert (exact.factory, exact.same_at_1, exact.same_at_20) == ("", 1, 1)
    assert exact.bytes_an_image == 8 * 4
    assert [t.parameters for t in ivf] == ["nprobe=1", "nprobe=4", "nprobe=16"]
    shares = [t.same_at_20 for t in ivf]
    assert shares == sorted(shares) and shares[0] < shares[-1] == 1
    assert ivf[-1].recall_at_1 == exact.recall_at_1
    assert pq.parameters == "" and 0 < pq.same_at_20 < 1
    assert pq.bytes_an_image < exact.bytes_an_image < ivf[0].bytes_an_image
    assert all(t.ms_a_query > 0 for t in found) and all(t.build_s > 0 for t in (*ivf, pq))


def test_the_table_has_a_line_a_trial_and_the_plot_a_point(found) -> None:
    lines = table(found).splitlines()
    assert len(lines) == 1 + len(found) and lines[0].split()[:4] == [
        "index",
        "search",
        "refine",
        "R@1",
    ]
    assert lines[1].startswith("exact ") and "nprobe=4 " in lines[3]
    by_index = curves(found)
    assert {k: len(v) for k, v in by_index.items()} == {"exact": 1, "IVF16,Flat": 3, "PQ4x4": 1}
    assert [label for _, _, label in by_index["IVF16,Flat"]] == ["1", "4", "16"]
    assert search_curves(by_index, "a set").startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("count", "dim", "expected"),
    [
        (880, 4096, ["IVF32,Flat", "IVF32,SQ8", "IVF32,PQ64", "PQ64", "HNSW32"]),
        (83_952, 512, ["IVF1024,Flat", "IVF1024,SQ8", "IVF1024,PQ64", "PQ64", "HNSW32"]),
        (1_000_000, 96, ["IVF4096,Flat", "IVF4096,SQ8", "IVF4096,PQ32", "PQ32"]),
        (12, 3, ["IVF1,Flat", "IVF1,SQ8", "HNSW32"]),
    ],
)
def test_indexes_that_are_tried_suit_the_size(count, dim, expected) -> None:
    assert default_factories(count, dim) == expected


def test_values_are_numbers() -> None:
    assert parse_values("1,4") == [1, 4]
    with pytest.raises(UserError, match="--values is '1,x', but must be numbers of at least 1"):
        parse_values("1,x")
