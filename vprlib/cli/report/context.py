"""What was run: parameters and what changed in them, revision, versions, leaks, images left out."""

import csv
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import yaml

from vprlib.cli.comparison.runs import leaves
from vprlib.pipeline import paths
from vprlib.pipeline.command import read_notes
from vprlib.pipeline.json_files import damaged, read_json
from vprlib.pipeline.params import LOADER, PARAMS_PATH, JsonObject

PACKAGES = ("vprlib", "torch", "torchvision", "faiss-cpu", "numpy", "pillow", "dvc")
LISTED = 200  # lines of a report on images
Change = tuple[str, str, str]  # place, committed value, value of the workspace


def context(params: dict[str, object], sets: Sequence[str], train_on: Sequence[str]) -> JsonObject:
    return {
        "params": PARAMS_PATH.read_text(encoding="utf-8"),
        "changes": changes(params),
        "git": git_state(),
        "versions": {"python": platform.python_version(), **versions()},
        "audits": audits(sets, train_on),
        "sets": {name: facts for name in sets for facts in _json(paths.metrics("sets", name))},
        "left_out": left_out(),
        "training": training(paths.TRAIN_LOG) if train_on else [],
        "stages": stages(),
    }


def stages() -> list[JsonObject]:
    """Each stage that dvc.lock knows, with its last run if its outputs are of that run.

    DVC puts other outputs in their place when it restores a result; those are older or newer.
    """
    lock, known, notes = _yaml("dvc.lock"), list(_yaml("dvc.yaml")), read_notes()
    found = []
    for name, entry in lock.items():
        made = [path for out in entry.get("outs", []) if (path := Path(out["path"])).exists()]
        note = notes.get(entry.get("cmd", ""))
        is_of_it = note is not None and any(note.holds(path.stat().st_mtime) for path in made)
        if made:
            found.append({"name": name, "run": vars(note) if note and is_of_it else None})
    order = {name: at for at, name in enumerate(known)}
    return sorted(found, key=lambda one: order.get(one["name"].partition("@")[0], len(order)))


def _yaml(name: str) -> JsonObject:
    """The stages in a file of DVC; none without the file."""
    path = Path(name)
    if not path.exists():
        return {}
    try:
        return dict(yaml.load(path.read_text(encoding="utf-8"), LOADER)["stages"])
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError, ValueError) as error:
        raise damaged(path, " ".join(str(error).split())) from None


def audits(sets: Sequence[str], train_on: Sequence[str]) -> list[JsonObject]:
    """What `audit` found of the sets, in the training sets in use."""
    found = [audit for name in sets for audit in _json(paths.metrics("audit", name))]
    known: list[JsonObject] = [{"said": [], "remarks": []} | audit for audit in found]
    return [audit for audit in known if audit.get("train") in train_on]


def changes(params: dict[str, object]) -> list[Change] | None:
    """Where the parameters differ from the committed ones; None if none are committed."""
    text = _git("show", f"HEAD:./{PARAMS_PATH}")
    try:
        tree = yaml.load(text, LOADER) if text else None
    except yaml.YAMLError:
        tree = None
    if not isinstance(tree, dict):
        return None
    before, now = dict(leaves(tree, "")), dict(leaves(params, ""))
    return [
        (place, _shown(before, place), _shown(now, place))
        for place in dict.fromkeys([*before, *now])
        if before.get(place) != now.get(place) or (place in before) != (place in now)
    ]


def _shown(values: dict[str, object], place: str) -> str:
    return str(values[place]) if place in values else "not there"


def git_state() -> JsonObject | None:
    """The commit, its date and subject, and whether tracked files have changed since."""
    told = commit_of("HEAD")
    dirty = _git("status", "--porcelain", "--untracked-files=no").splitlines()
    return None if told is None else told | {"changed": len(dirty)}


def commit_of(revision: str) -> JsonObject | None:
    """The commit that a revision or an experiment of DVC stands for."""
    kept = _git("for-each-ref", "--format=%(objectname)", f"refs/exps/*/*/{revision}").split()
    for name in (revision, *kept):
        told = _git("log", "-1", "--format=%H%n%cs%n%s", "--end-of-options", name, "--")
        if len(lines := told.splitlines()) >= 3:
            return dict(zip(("revision", "date", "subject"), lines, strict=False))
    return None


def _git(*arguments: str) -> str:
    """What git prints; nothing without git, or outside a repository."""
    command = ["git", *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False
        )
    except FileNotFoundError:
        return ""
    return done.stdout if done.returncode == 0 else ""


def versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def left_out() -> list[JsonObject]:
    """The lists of images that were left out, with their first lines."""
    found = []
    for path in sorted(paths.REPORTS.glob("*.txt")):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        found.append({"name": path.name, "count": len(lines), "lines": lines[:LISTED]})
    return found


def training(path: Path) -> list[dict[str, float | None]]:
    """The log of training: a row for each epoch; an empty cell is None."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        try:
            return [
                {name: float(cell) if cell else None for name, cell in row.items()}
                for row in csv.DictReader(file, strict=True)
            ]
        except (ValueError, TypeError, csv.Error) as error:
            raise damaged(path, str(error)) from None


def _json(path: Path) -> list[JsonObject]:
    """Of a file that need not be there."""
    return [read_json(path, JsonObject)] if path.exists() else []
