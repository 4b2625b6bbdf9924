"""Opens the descriptors of a side, coded or not."""

from pathlib import Path

import numpy as np
import pytest

from vprlib.descriptors.files import opened
from vprlib.pipeline.artifacts import write_hdf5
from vprlib.pipeline.params import UserError


def test_another_number_than_the_index_has_is_refused(tmp_path: Path) -> None:
    write_hdf5(tmp_path / "db.h5", {"descriptors": np.ones((5, 8), np.float32)})
    with opened(tmp_path / "db.h5", 5) as found:
        assert found.shape == (5, 8)
    sentence = r"db\.h5 has 5 descriptors, but the index has 6 images: run `dvc repro`"
    with pytest.raises(UserError, match=sentence), opened(tmp_path / "db.h5", 6):
        pass
