"""Descriptors and the index that they are read by are of the same images."""

from dataclasses import replace

import h5py
import numpy as np
import pytest

from vprlib.images.index import ATTRIBUTE, check, signature
from vprlib.pipeline.params import UserError


@pytest.fixture
def described(index_at, tmp_path):
    index = index_at(np.zeros((5, 2)))
    with h5py.File(tmp_path / "db.h5", "w") as file:
        file.attrs[ATTRIBUTE] = signature(index)
    return tmp_path / "db.h5", index


def test_the_same_images_pass(described):
    check(*described)


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index.take(np.array([1, 0, 2, 3, 4])),
        lambda index: index.take(np.arange(4)),
        lambda index: replace(index, digests=index.digests + 1),
        lambda index: replace(index, names=[f"x{name}" for name in index.names]),
    ],
)
def test_other_images_or_another_order_are_refused(described, change):
    path, index = described
    with pytest.raises(UserError, match="names and features are out of step; run `dvc repro`"):
        check(path, change(index))


def test_positions_are_no_part_of_it(described):
    path, index = described
    check(path, replace(index, positions=index.positions + 1))


def test_a_file_that_does_not_say_is_let_through(tmp_path, described):
    h5py.File(tmp_path / "old.h5", "w").close()
    check(tmp_path / "old.h5", described[1])
