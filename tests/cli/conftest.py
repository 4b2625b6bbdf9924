"""A project's params.yaml and presets, for tests of `vpr use`."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import toy


@pytest.fixture
def git(tmp_path: Path) -> Callable[..., None]:
    who = ("-c", "user.name=x", "-c", "user.email=x@example.org")

    def run(*arguments: str) -> None:
        subprocess.run(["git", "-C", tmp_path, *who, *arguments], check=True, capture_output=True)

    return run


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, git: Callable[..., None]) -> Path:
    """params.yaml and presets as they are here, committed; the test runs inside."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(toy.ROOT / "params.yaml", tmp_path)
    shutil.copytree(toy.ROOT / "presets", tmp_path / "presets")
    git("init", "-q")
    git("add", "params.yaml")
    git("commit", "-qm", "as it was")
    return tmp_path
