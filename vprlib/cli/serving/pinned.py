"""A choice of set, variant and code whose files are held by links, whatever becomes of them."""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from vprlib.cli.choice import Choice
from vprlib.cli.serving.recorded import LOCK
from vprlib.pipeline import paths
from vprlib.pipeline.artifacts import link
from vprlib.pipeline.params import PARAMS_PATH
from vprlib.pipeline.switches import FULL

FOLDER = "serve-"  # and the number of the process, below artifacts/.scratch
Stamp = tuple[tuple[str, int, int, int], ...]


class Pinned(Choice):
    """Its paths lie below a folder of links."""

    folder: Path

    @property
    def root(self) -> Path:
        return self.folder


def files_of(choice: Choice) -> list[Path]:
    """The files that a map is made of; the last two may be missing."""
    dataset, variant, code = choice
    found = [paths.index(dataset, "db"), paths.model(variant)]
    found += [paths.descriptors(dataset, variant, code, "db")]
    if code != FULL:
        found += [paths.coder(variant, code)]
        found += sorted(_below(paths.descriptors_dir(dataset, variant, code)))
    found += [paths.calibration(variant, code), paths.onnx(variant, code)]
    return list(dict.fromkeys(found))


def stamp(choice: Choice) -> Stamp:
    """What the system says of the files of a map, without opening one."""
    return stamp_of(files_of(choice))


def surroundings() -> Stamp:
    """The same of the files that say of which run they are."""
    return stamp_of([LOCK, PARAMS_PATH])


def stamp_of(files: Iterable[Path]) -> Stamp:
    found = []
    for path in files:
        with suppress(OSError):
            told = path.stat()
            found.append((str(path), told.st_ino, told.st_size, told.st_mtime_ns))
    return tuple(found)


def pin(choice: Choice, folder: Path) -> Pinned:
    """Links the files into a folder; what is not there is left out."""
    link_files(choice, folder)
    pinned = Pinned(*choice)
    pinned.folder = folder
    return pinned


def link_files(choice: Choice, folder: Path) -> None:
    for path in files_of(choice):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            link(path, target)


def home() -> Path:
    """The folder for the links of this process; those of processes that have died are removed."""
    paths.SCRATCH.mkdir(parents=True, exist_ok=True)
    for folder in paths.SCRATCH.glob(f"{FOLDER}*"):
        if not Path(f"/proc/{folder.name.removeprefix(FOLDER)}").exists():
            shutil.rmtree(folder, ignore_errors=True)
    return paths.SCRATCH / f"{FOLDER}{os.getpid()}"


def _below(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())
