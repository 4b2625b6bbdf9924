"""Unfinished work: kept under a key of all that it depends on, and read back as it was."""

import errno
from pathlib import Path

import pytest
import torch
from disks import raising

from vprlib.pipeline import resume
from vprlib.pipeline.params import UserError
from vprlib.pipeline.resume import Scratch, scratch_for

STATE = {
    "weights": {"w": torch.arange(6.0).reshape(2, 3)},
    "hardest": torch.full((2, 3), -1),
    "optimizer": {"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]},
    "epoch": 3,
    "loss_sum": 0.25,
    "log": [{"epoch": 0, "loss": None, "recalls": {"recall@1": 0.5}}],
}


def flat(value: object) -> object:
    """Tensors as lists, all else as it is."""
    if isinstance(value, dict):
        return {key: flat(item) for key, item in value.items()}
    return [*value.shape, *value.flatten().tolist()] if isinstance(value, torch.Tensor) else value


def test_a_state_reads_back_as_it_was_saved(tmp_path: Path) -> None:
    kept = Scratch(tmp_path / "a")
    assert kept.load() is None
    kept.save(STATE)
    assert flat(kept.load()) == flat(STATE)


def test_same_state_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Scratch(tmp_path / name).save(STATE)
    assert (tmp_path / "a/state.pt").read_bytes() == (tmp_path / "b/state.pt").read_bytes()


def test_a_state_that_cannot_be_saved_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Scratch(tmp_path / "a")
    kept.save(STATE)
    monkeypatch.setattr("os.fsync", raising(errno.ENOSPC))
    with pytest.raises(UserError, match="no space left on the disk"):
        kept.save(STATE | {"epoch": 4})
    assert kept.load()["epoch"] == 3
    assert [path.name for path in kept.folder.iterdir()] == ["state.pt"]


def test_finished_work_leaves_nothing(tmp_path: Path) -> None:
    kept = Scratch(tmp_path / "a")
    kept.save(STATE)
    kept.remove()
    kept.remove()
    assert list(tmp_path.iterdir()) == []


def test_the_folder_changes_with_stage_params_inputs_and_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, code = (tmp_path / name for name in ("first", "second", "code.py"))
    for path in (first, second, code):
        path.write_text(path.name)
    monkeypatch.setattr(resume, "_loaded_sources", lambda: [code])

    def folder(
        stage: str = "train", lr: float = 0.1, inputs: tuple[Path, ...] = (first, second)
    ) -> Path:
        return scratch_for(tmp_path, stage, {"a": {"lr": lr}, "b": 1}, inputs).folder

    start = folder()
    assert folder() == start
    assert start.parent == tmp_path
    assert start.name.startswith("train-")
    found = {start, folder(stage="other"), folder(lr=0.2), folder(inputs=(second, first))}
    second.write_text("changed")
    found.add(folder())
    code.write_text("changed")
    found.add(folder())
    assert len(found) == 6


def test_the_order_of_params_changes_nothing(tmp_path: Path) -> None:
    one = scratch_for(tmp_path, "train", {"a": 1, "b": 2}, [])
    assert one == scratch_for(tmp_path, "train", {"b": 2, "a": 1}, [])


def test_the_code_that_counts_is_that_of_ours_that_is_loaded() -> None:
    names = {path.name for path in resume._loaded_sources()}
    assert {"resume.py", "artifacts.py", "params.py"} <= names
    assert not any("site-packages" in str(path) for path in resume._loaded_sources())
