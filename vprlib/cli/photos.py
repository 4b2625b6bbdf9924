"""Links folders of photographs into data/raw, where the stage `list_photos` looks for them."""

from collections.abc import Sequence
from pathlib import Path

from vprlib.formats.photo_places import QUERIES
from vprlib.pipeline.explained import explaining
from vprlib.pipeline.params import UserError

PRESET = "photos"


def check(name: str | None, folders: Sequence[Path], queries: Path | None, target: Path) -> None:
    """Before anything is written: the folders are there, and they are for this preset."""
    given = [*folders, *([queries] if queries else [])]
    if name != PRESET:
        if given:
            raise UserError(f"folders go with `vpr use {PRESET} FOLDER …`, not with '{name}'.")
        return
    for folder in given:
        if not folder.is_dir():
            what = "is no folder" if folder.exists() else "is missing"
            raise UserError(f"{folder} {what}: name a folder of photographs.")
        if folder.resolve().is_relative_to(target.resolve()) or target.resolve().is_relative_to(
            folder.resolve()
        ):
            raise UserError(f"{folder} and {target} lie in one another: name another folder.")
    if not folders and (queries or not target.is_dir() or not any(target.iterdir())):
        raise UserError(f"name a folder of photographs: `vpr use {PRESET} FOLDER`.")


def link(folders: Sequence[Path], queries: Path | None, target: Path) -> list[str]:
    """Links them in place of earlier links, and says so; folders that were copied there stay."""
    if not folders:
        return []
    with explaining(target):
        target.mkdir(parents=True, exist_ok=True)
        for old in target.iterdir():
            if old.is_symlink():
                old.unlink()
        made = []
        for folder in folders:
            made.append(_free(target, folder))
            made[-1].symlink_to(folder.resolve())
        if queries:
            made.append(target / QUERIES)
            made[-1].symlink_to(queries.resolve())
    return [f"{path} → {path.readlink()}" for path in made]


def _free(target: Path, folder: Path) -> Path:
    """A name in the target that nothing has yet, as the folder is called."""
    name = "".join(c for c in folder.resolve().name if c.isprintable()) or "photographs"
    names = [name, *(f"{name}_{number}" for number in range(2, 1000))]
    taken = {QUERIES, *(path.name for path in target.iterdir())}
    return target / next(one for one in names if one not in taken)
