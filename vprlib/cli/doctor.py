"""Looks for what goes wrong on people's machines, and mends what is safe to mend: `vpr doctor`."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Annotated, cast

import typer
import yaml
from packaging.requirements import Requirement

from vprlib.cli import options
from vprlib.cli.output import echo_json
from vprlib.pipeline import paths
from vprlib.pipeline.artifacts import write_bytes
from vprlib.pipeline.cache import ABOUT, About, cache_at, entries, gib
from vprlib.pipeline.json_files import read_json
from vprlib.pipeline.params import (
    LOADER,
    PARAMS_PATH,
    At,
    JsonObject,
    StageParams,
    UserError,
    check_skeleton,
    read_params_file,
)
from vprlib.pipeline.runtime import RuntimeSettings

LOCK, RWLOCK = Path("dvc.lock"), Path(".dvc/tmp/rwlock")
OBJECTS = Path(".dvc/cache/files/md5")
WRITTEN = ("artifacts", "data", "metrics")  # where stages write
NEEDED = 2**30  # bytes of free disk below which any run is at risk


@dataclass(frozen=True)
class Finding:
    """A line of the report; `mend` does what is safe and says what it did."""

    what: str
    is_well: bool = True
    mend: Callable[[], str] | None = None


def look(deep: bool) -> Iterator[Finding]:
    """All findings, in the order in which they should be mended."""
    yield _parameters()
    yield _dvc_at_work()
    yield _lock()
    yield from _partial_files()
    yield _scratch()
    yield from _links()
    yield from _weights()
    yield _versions()
    yield _disk()
    yield _machine()
    yield from _cache()
    yield from _objects(deep)


def _parameters() -> Finding:
    try:
        check_skeleton(read_params_file(PARAMS_PATH))
    except UserError as error:
        return Finding(str(error), is_well=False)
    return Finding(f"{PARAMS_PATH}: can be read; `dvc repro check_switches` checks all of it")


def _dvc_at_work() -> Finding:
    """DVC notes who reads and writes what; a killed one leaves its notes."""
    numbers = _holders()
    if numbers is None:
        return Finding(f"{RWLOCK}: is torn, so DVC will not start", False, partial(_remove, RWLOCK))
    if _is_busy():
        return Finding(f"{RWLOCK}: DVC is at work")
    if numbers:
        return Finding(f"{RWLOCK}: is of a dead process", False, partial(_remove, RWLOCK))
    return Finding("no DVC is at work")


def _holders() -> set[int] | None:
    """The processes that DVC has noted; None where the notes are torn."""
    try:
        notes = json.loads(RWLOCK.read_text() or "{}") if RWLOCK.exists() else {}
        users = [[*n.get("read", []), n.get("write") or {"pid": 0}] for n in notes.values()]
        return {int(user["pid"]) for some in users for user in some} - {0}
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _is_busy() -> bool:
    return any(map(_is_alive, _holders() or ()))


def _is_alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _lock() -> Finding:
    if not LOCK.exists():
        return Finding(f"{LOCK}: is not there yet; `dvc repro` makes it")
    problem = _problem_of_lock(LOCK.read_bytes())
    if problem is None:
        return Finding(f"{LOCK}: is whole")
    return Finding(f"{LOCK}: {problem}, as after a kill while DVC wrote it", False, _mend_lock)


def _problem_of_lock(content: bytes) -> str | None:
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA  # takes a while
    from voluptuous import MultipleInvalid

    try:
        COMPILED_LOCKFILE_SCHEMA(yaml.load(content, LOADER))
    except (yaml.YAMLError, UnicodeDecodeError, MultipleInvalid):
        return "is torn" if content.strip(b"\0") else "is empty"
    return None


def _mend_lock() -> str:
    """The committed lock, or none; what has run since is in DVC's run cache."""
    told = subprocess.run(["git", "show", f"HEAD:./{LOCK}"], capture_output=True, check=False)
    if told.returncode or _problem_of_lock(told.stdout):
        LOCK.unlink()
        return f"removed {LOCK}; `dvc repro` makes it again without repeating what it has kept"
    write_bytes(LOCK, told.stdout)
    return f"took {LOCK} from git; `dvc repro` finds again what has run since"


def _partial_files() -> Iterator[Finding]:
    found = [path for folder in WRITTEN for path in Path(folder).rglob(".*.partial")]
    if found:
        what = f"{len(found)} half-written files of killed stages, such as {found[0]}"
        yield Finding(what, False, partial(_remove, *found))


def _scratch() -> Finding:
    kept = list(paths.SCRATCH.glob("*"))
    if not kept:
        return Finding("no interrupted stage")
    size = gib(sum(map(_size, kept)))
    return Finding(
        f"{paths.SCRATCH}: {len(kept)} interrupted stages ({size}), which go on when they run"
        f" again with the same parameters; remove {paths.SCRATCH} if you do not want that"
    )


def _links() -> Iterator[Finding]:
    for path in [*paths.RAW.glob("*"), *paths.RAW.glob("*/*")]:
        if path.is_symlink() and not path.exists():
            yield Finding(f"{path}: links to {path.readlink()}, which is not there", is_well=False)


def _weights() -> Iterator[Finding]:
    """Files that params.yaml names, and those whose own name says what they hold."""
    named = []
    with suppress(UserError, KeyError, TypeError, AttributeError):  # said of params.yaml itself
        tree = cast(JsonObject, read_params_file(PARAMS_PATH))
        named = [*(entry["file"] for entry in tree["networks"].values()), tree["kmeans"]["file"]]
        named += [tree["model"]["backbone"]["weights"]]
    for name in map(str, named):
        is_file = name not in ("None", "random", "imagenet", "packaged")
        if is_file and not (paths.WEIGHTS / name).exists():
            yield Finding(f"{paths.WEIGHTS / name}: is missing; put it there", is_well=False)
    for path in sorted(paths.WEIGHTS.glob("*-[0-9a-f]" + "[0-9a-f]" * 7 + ".pth")):
        if not _digest(path, "sha256").startswith(path.stem[-8:]):
            what = f"{path}: was altered or is cut, since its name says another content"
            yield Finding(f"{what}; fetch it again", is_well=False)


def _versions() -> Finding:
    """What this package and torchvision require, against what is installed."""
    wrong = []
    for package in ("vprlib", "torchvision"):
        for line in metadata.requires(package) or []:
            wanted = Requirement(line)
            if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
                continue
            try:
                found = metadata.version(wanted.name)
            except metadata.PackageNotFoundError:
                found = "missing"
            if found == "missing" or not wanted.specifier.contains(found, prereleases=True):
                wrong.append(f"{wanted.name} is {found}, but {package} needs {wanted.specifier}")
    if wrong:
        return Finding(f"{'; '.join(wrong)}: run `pip install -e .`", is_well=False)
    return Finding("installed packages fit each other")


class RuntimeParams(StageParams):
    runtime: Annotated[RuntimeSettings, At("runtime")]


def _disk() -> Finding:
    free = shutil.disk_usage(".").free
    known = [_size(path) for path in (Path("artifacts"), Path("data")) if path.exists()]
    what = f"free disk: {gib(free)}; artifacts and data have {gib(sum(known))}"
    if free < max(NEEDED, sum(known)):
        return Finding(f"{what}, and another run may need as much; free some", is_well=False)
    return Finding(what)


def _machine() -> Finding:
    from vprlib.model.device import prepare
    from vprlib.model.precision import has_bfloat16
    from vprlib.pipeline.runtime import processor_name

    try:
        runtime = RuntimeParams.load().runtime
        device = prepare(runtime)
    except UserError as error:
        return Finding(str(error), is_well=False)
    precision = "has" if has_bfloat16(device) else "has no"
    return Finding(
        f"device: {device} ({processor_name()}), which {precision} native bfloat16;"
        f" {runtime.cores} threads"
    )


def _cache() -> Iterator[Finding]:
    """Entries that cannot be read; damaged parameters are told of elsewhere."""
    try:
        runtime = RuntimeParams.load().runtime
    except UserError:
        return
    for entry in entries(cache_at(paths.CACHE, runtime, lambda _: None).folder):
        try:
            read_json(entry / ABOUT, About)
        except UserError as error:
            yield Finding(str(error), False, partial(_remove, entry))


def _objects(deep: bool) -> Iterator[Finding]:
    """Contents that DVC keeps, whose names are the digests of their bytes."""
    every = [path for path in OBJECTS.glob("*/*") if path.is_file()]
    looked = every if deep else [p for p in every if p.suffix == ".dir" or not p.stat().st_size]
    wrong = [p for p in looked if _digest(p, "md5") != p.parent.name + p.stem]
    if wrong:
        what = f"{OBJECTS}: {len(wrong)} of {len(looked)} objects are damaged, such as {wrong[0]}"
        yield Finding(what, False, partial(_remove, *wrong))
    elif every:
        more = "" if deep else "; --deep reads all of them"
        yield Finding(f"{OBJECTS}: {len(looked)} of {len(every)} objects are whole{more}")


def _remove(*found: Path) -> str:
    for path in found:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return f"removed {found[0]}" + (f" and {len(found) - 1} more" if len(found) > 1 else "")


def _digest(path: Path, kind: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


def _size(path: Path) -> int:
    """Bytes of a file or of all files in a folder; links are not followed."""
    files: Iterable[Path] = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if not file.is_dir())


def main(
    fix: Annotated[bool, typer.Option("--fix", help="mend what can be mended safely")] = False,
    deep: Annotated[bool, typer.Option("--deep", help="read all of DVC's cache")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Print a line for each thing that can go wrong on this machine and in this project.

    The exit code is 1 if something stays wrong.
    """
    lines, is_busy = [], _is_busy()
    for finding in look(deep):
        state, what = "ok" if finding.is_well else "wrong", finding.what
        if not finding.is_well and finding.mend is not None:
            if fix and not is_busy:
                state, what = "mended", f"{what}: {finding.mend()}"
            else:
                what += "; wait for it to end" if is_busy else "; `vpr doctor --fix` mends it"
        lines.append({"state": state, "what": what})
        if not as_json:
            typer.echo(f"{state:6}  {what}")
    if as_json:
        echo_json(lines)
    if any(line["state"] == "wrong" for line in lines):
        raise typer.Exit(1)
