"""Whether files are those of one finished `dvc repro`, by what dvc.lock has recorded of it."""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import yaml

from vprlib.pipeline.params import LOADER, PARAMS_PATH, JsonObject, UserError

LOCK = Path("dvc.lock")
READ_UP_TO = 2**29  # bytes of a file whose content is read; of larger ones the size must do


@dataclass(frozen=True)
class Recorded:
    """The stages of dvc.lock."""

    stages: Mapping[str, JsonObject]

    @classmethod
    def read(cls) -> "Recorded":
        """Of nothing where there is no dvc.lock; one that is being written is refused."""
        try:
            found = yaml.load(LOCK.read_text(encoding="utf-8"), LOADER)
            return cls(found["stages"])
        except FileNotFoundError:
            return cls({})
        except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, KeyError):
            raise UserError(f"{LOCK} cannot be read: see `vpr doctor`.") from None

    def missing(self, files: Collection[Path]) -> list[Path]:
        """Which of the files some stage has written, but are not there."""
        return [path for path in files if self._maker(str(path)) and not path.exists()]

    def parameters(self, path: Path) -> Mapping[str, object]:
        """What the stage that wrote a file has read of params.yaml."""
        maker = self._maker(str(path))
        return self.stages[maker[0]].get("params", {}).get(str(PARAMS_PATH), {}) if maker else {}

    def problem(self, root: Path, files: Collection[Path]) -> str | None:
        """Why the files below `root` are not of one run; None if they are."""
        makers = {str(path): maker for path in files if (maker := self._maker(str(path)))}
        for name in self._before({stage for stage, _ in makers.values()}):
            for dep in self.stages[name].get("deps", []):
                made = self._content(dep["path"])
                if made is not None and made != dep["md5"]:
                    return f"{name} has not yet run with the present {dep['path']}"
        for _, out in {out: (stage, out) for stage, out in makers.values()}.values():
            if not _is_content(root / out, self._outs[out][1]):
                return f"{out} is not the one that dvc.lock has recorded"
        return None

    @cached_property
    def _outs(self) -> dict[str, tuple[str, JsonObject]]:
        """The stage and the record of each output."""
        every = (
            (name, out) for name, stage in self.stages.items() for out in stage.get("outs", [])
        )
        return {out["path"]: (name, out) for name, out in every}

    def _maker(self, path: str) -> tuple[str, str] | None:
        """The stage that writes a file, and the output that the file is or lies in."""
        for out in (path, *map(str, Path(path).parents)):
            if out in self._outs:
                return self._outs[out][0], out
        return None

    def _inside(self, folder: str) -> dict[str, str]:
        """The digests of the outputs below a folder, by their paths in it."""
        return {
            path[len(folder) + 1 :]: out["md5"]
            for path, (_, out) in self._outs.items()
            if path.startswith(f"{folder}/")
        }

    def _content(self, path: str) -> str | None:
        """The digest of what stages wrote to a path; None for what is no output."""
        if path in self._outs:
            return self._outs[path][1]["md5"]
        return _of_folder(inside) if (inside := self._inside(path)) else None

    def _before(self, stages: set[str]) -> Iterator[str]:
        """These stages and all that they depend on."""
        waiting, seen = sorted(stages), set(stages)
        while waiting:
            yield (name := waiting.pop())
            for dep in self.stages[name].get("deps", []):
                path = dep["path"]
                within = (f"{path}/{inner}" for inner in self._inside(path))
                for out in (path, *within):
                    maker = self._outs.get(out)
                    if maker and maker[0] not in seen:
                        seen.add(maker[0])
                        waiting.append(maker[0])


def _is_content(path: Path, out: JsonObject) -> bool:
    """Whether a file or folder is as it was recorded."""
    if path.is_dir():
        files = [file for file in sorted(path.rglob("*")) if file.is_file()]
        if sum(file.stat().st_size for file in files) != out["size"]:
            return False
        if out["size"] > READ_UP_TO:
            return True
        found = {file.relative_to(path).as_posix(): _of_file(file) for file in files}
        return _of_folder(found) == out["md5"]
    size = path.stat().st_size
    return size == out["size"] and (size > READ_UP_TO or _of_file(path) == out["md5"])


def _of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _of_folder(files: Mapping[str, str]) -> str:
    """As DVC computes it."""
    listed = [{"md5": files[name], "relpath": name} for name in sorted(files)]
    return hashlib.md5(json.dumps(listed, sort_keys=True).encode()).hexdigest() + ".dir"
