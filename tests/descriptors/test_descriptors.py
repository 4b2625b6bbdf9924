"""Opens the descriptors of a side: those of a code where it has its own, else all."""

from pathlib import Path

import numpy as np
import pytest

from vprlib.descriptors.files import opened, opened_code
from vprlib.pipeline.artifacts import write_hdf5
from vprlib.pipeline.params import UserError


@pytest.fixture
def full(tmp_path: Path) -> Path:
    write_hdf5(tmp_path / "db.h5", {"descriptors": np.ones((5, 8), np.float32)})
    return tmp_path / "db.h5"


def test_a_code_with_vectors_of_its_own_gives_them(tmp_path, full) -> None:
    write_hdf5(tmp_path / "w2.h5", {"database": np.zeros((5, 2), np.float32)})
    with opened_code(tmp_path / "w2.h5", "database", full, 5) as found:
        assert found.shape == (5, 2)


def test_a_code_that_keeps_all_gives_the_descriptors_themselves(tmp_path, full) -> None:
    write_hdf5(tmp_path / "full.h5", {})
    with opened_code(tmp_path / "full.h5", "database", full, 5) as found:
        assert found.shape == (5, 8)


def test_another_number_than_the_index_has_is_refused(tmp_path, full) -> None:
    write_hdf5(tmp_path / "w2.h5", {"database": np.zeros((4, 2), np.float32)})
    sentence = r"has 4 descriptors, but the index has 5 images: run `dvc repro`"
    with (
        pytest.raises(UserError, match=rf"w2\.h5 {sentence}"),
        opened_code(tmp_path / "w2.h5", "database", full, 5),
    ):
        pass
    with pytest.raises(UserError, match=r"db\.h5 has 5 descriptors"), opened(full, 6):
        pass
