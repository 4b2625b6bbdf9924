"""Opens the descriptors of one side of a set."""

from pathlib import Path

import numpy as np
import pytest

from vprlib.descriptors.files import opened
from vprlib.pipeline.artifacts import write_hdf5
from vprlib.pipeline.params import UserError


def test_another_number_than_the_index_has_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "db.h5"
    write_hdf5(path, {"descriptors": np.ones((5, 8), np.float32)})
    with opened(path, 5) as found:
        assert found.shape == (5, 8)
    sentence = r"db\.h5 has 5 descriptors, but the index has 6 images: run `dvc repro`"
    with pytest.raises(UserError, match=sentence), opened(path, 6):
        pass
