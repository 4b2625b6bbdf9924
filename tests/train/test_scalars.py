"""TensorBoard's scalars: written where asked for, a sentence where it is not installed."""

import sys
import types

import pytest

from vprlib.pipeline.params import UserError
from vprlib.train.log import EpochLog, open_scalars

ROW = EpochLog(2, 0.5, 1e-3, 0.25, {"recall@1": 0.75}, 0.125)


def test_nothing_is_written_unless_it_is_wanted(tmp_path):
    with open_scalars(tmp_path / "scalars", False) as write:
        write(ROW)
    assert not list(tmp_path.iterdir())


def test_every_known_value_of_an_epoch_is_written(tmp_path, monkeypatch):
    written = []

    class Writer:
        def __init__(self, folder):
            assert folder == str(tmp_path)

        def add_scalar(self, name, value, epoch):
            written.append((name, value, epoch))

        def flush(self):
            written.append("flushed")

        def close(self):
            written.append("closed")

    fake = types.SimpleNamespace(SummaryWriter=Writer)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    with open_scalars(tmp_path, True) as write:
        write(EpochLog(0, None, None, None, {"recall@1": 0.5}))
        write(ROW)
    assert written == [
        ("recall@1", 0.5, 0),
        "flushed",
        ("loss", 0.5, 2),
        ("learning_rate", 1e-3, 2),
        ("violating", 0.25, 2),
        ("recall@1", 0.75, 2),
        ("rank_loss", 0.125, 2),
        "flushed",
        "closed",
    ]


def test_tensorboard_that_is_not_installed_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r"runtime\.tensorboard is true, but TensorBoard is not"):
        open_scalars(tmp_path, True).__enter__()
