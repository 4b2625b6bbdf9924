"""Names that come from a file or a parameter stay inside the folder that they belong to."""

import os
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator

from vprlib.pipeline.params import UserError


def problem_of(name: str) -> str | None:
    """What is wrong with a name, to follow it in a sentence; a link is not looked at."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        return "leaves its folder: name a file inside it"
    if not name.isprintable():
        return "holds a character that cannot be printed: rename the file"
    return None


def _checked(name: str) -> str:
    if problem := problem_of(name):
        raise ValueError(f"'{name}' {problem}")
    return name


Name = Annotated[str, AfterValidator(_checked)]  # of a parameter that names a file or folder


def inside(root: Path, name: str, source: object) -> Path:
    """The path of `name` below `root`; refuses names and links that lead out of it.

    `source` says who gave the name. A folder that is linked directly into `root`, and `root`
    itself, may lie anywhere: somebody made these links to use images on another disk.
    """
    if problem := problem_of(name):
        raise UserError(f"{source}: '{name}' {problem}.")
    path = root / name
    if not _stays(path, root):
        raise UserError(
            f"{source}: '{name}' is a link that leads out of {root}: put the file itself there, or"
            f" link its whole folder directly into {root}."
        )
    return path


def _stays(path: Path, root: Path) -> bool:
    try:
        state = root.stat()
    except OSError:
        return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))
    homes = _homes(str(root.absolute()), state.st_ino, state.st_mtime_ns)
    real = os.path.realpath(path)
    return any(real == home or real.startswith(home.rstrip(os.sep) + os.sep) for home in homes)


@lru_cache(maxsize=16)
def _homes(root: str, number: int, changed: int) -> list[str]:
    """Where `root` and the folders that are linked into it are; the numbers tell of a change."""
    linked = [entry for entry in Path(root).iterdir() if entry.is_symlink() and entry.is_dir()]
    return [os.path.realpath(folder) for folder in (Path(root), *linked)]
