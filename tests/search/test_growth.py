"""An IVF index takes new rows without being trained anew, and says when it should be."""

from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import pytest
from vectors import clusters

from vprlib.descriptors.settings import IndexSettings, SearchSettings
from vprlib.pipeline.cache import Cache, entries
from vprlib.pipeline.params import UserError
from vprlib.search import growth
from vprlib.search.faiss_factory import check_index
from vprlib.search.faiss_training import IndexRequest, train
from vprlib.search.growth import FIT, INDEX, trained_for

ROWS = clusters(2600, 1)
Ask = Callable[..., tuple[bytes, str]]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Gives the trained index as bytes, and what is said; `ask.trained` counts."""

    class Asking:
        trained = 0

        def __call__(
            self, rows: np.ndarray, drift: float | None = 0.05, space: str = "a", **changes
        ) -> tuple[bytes, str]:
            form = {"factory": "PCA8,IVF16,SQ8", "train": 500, "seed": 1} | changes
            request = IndexRequest("c", rows, IndexSettings(**form, drift=drift), 2**30, 1)
            index, said = trained_for(request, Cache(tmp_path / "cache", 2**30, print), space)
            assert index.ntotal == 0
            return faiss.serialize_index(index).tobytes(), said

    asking = Asking()

    def counted(request: IndexRequest) -> faiss.Index:
        asking.trained += 1
        return train(request)

    monkeypatch.setattr(growth, "train", counted)
    return asking


def test_more_rows_of_the_same_kind_train_nothing(ask: Ask) -> None:
    first, said = ask(ROWS[:2000])
    assert said == ""
    again, said = ask(ROWS)
    assert again == first and ask.trained == 1
    assert said.startswith("not trained anew: 2600 descriptors for 2000 then, 1.")
    assert "far from every centre (allowed 5%)" in said
    assert ask(ROWS, drift=None)[0] != first  # from scratch, on all of them


def test_rows_of_another_kind_train_it_anew_and_that_is_said(ask: Ask) -> None:
    first, _ = ask(ROWS[:2000])
    strange = ROWS[:100] + 2 * np.eye(16, dtype=np.float32)[3]
    few = np.concatenate([ROWS[:2000], strange[:50]])  # 1 % lie far anyway, and 2.4 % are strange
    assert "3.4% of them far" in ask(few)[1] and ask.trained == 1
    anew, said = ask(np.concatenate([ROWS[:2000], strange]), drift=0.04)
    assert anew != first and ask.trained == 2
    assert said.startswith("trained anew: 2100 descriptors for 2000 then, 5.")
    again, said = ask(np.concatenate([ROWS[:2000], strange]), drift=0.04)
    assert again == anew and said.startswith("not trained anew")


def test_twice_as_many_rows_need_other_lists(ask: Ask) -> None:
    ask(ROWS[:1000])
    assert ask(ROWS[:2000])[1].startswith("not trained anew")
    assert ask(ROWS[:2001])[1].startswith("trained anew: 2001 descriptors for 1000 then")


@pytest.mark.parametrize("change", [{"space": "b"}, {"seed": 2}, {"factory": "IVF16,SQ8"}])
def test_other_descriptors_and_settings_have_an_index_of_their_own(ask: Ask, change: dict) -> None:
    ask(ROWS[:2000])
    assert ask(ROWS[:2000], **change)[1] == "" and ask.trained == 2
    assert ask(ROWS[:2000])[1].startswith("not trained anew")


def test_without_drift_nothing_is_kept(ask: Ask, tmp_path: Path) -> None:
    assert ask(ROWS, drift=None) == ask(ROWS, drift=None)
    assert ask.trained == 2 and not (tmp_path / "cache").exists()


@pytest.mark.parametrize("name", [INDEX, FIT])
def test_damaged_files_are_made_again(ask: Ask, tmp_path: Path, name: str) -> None:
    first, _ = ask(ROWS[:2000])
    (entry,) = entries(tmp_path / "cache")
    (entry / name).write_bytes((entry / name).read_bytes()[:-3])
    assert ask(ROWS[:2000]) == (first, "")
    assert ask(ROWS[:2000])[1] and ask.trained == 2


@pytest.mark.parametrize("factory", ["HNSW8", "PQ4x4", "IVF8,PQ4x4fs"])
def test_what_has_no_lists_on_disk_cannot_drift(factory: str) -> None:
    settings = IndexSettings(factory=factory, train=500, seed=1, drift=0.1)
    with pytest.raises(UserError, match="has no centres to drift from: take an IVF"):
        check_index("here", settings, SearchSettings(parameters="", refine=1), 16)
