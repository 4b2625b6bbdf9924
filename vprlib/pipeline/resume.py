"""The scratch folder of unfinished work, keyed by everything that its result depends on."""

import hashlib
import io
import json
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vprlib.pipeline.artifacts import write_bytes


@dataclass(frozen=True)
class Scratch:
    """The folder of one piece of work; other parameters, inputs or code have another folder."""

    folder: Path

    @property
    def state_path(self) -> Path:
        return self.folder / "state.pt"

    def load(self) -> dict[str, Any] | None:
        if not self.state_path.exists():
            return None
        import torch

        return torch.load(self.state_path, map_location="cpu", weights_only=True)

    def save(self, state: Mapping[str, object]) -> None:
        import torch  # what resumes without it need not load it

        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        write_bytes(self.state_path, buffer.getvalue())

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def scratch_for(
    parent: Path, stage: str, params: Mapping[str, object], inputs: Iterable[Path]
) -> Scratch:
    """Keyed by params, the content of the inputs, and the source of our modules that are loaded."""
    digest = hashlib.sha256(json.dumps(params, sort_keys=True, default=str).encode())
    for path in (*inputs, *_loaded_sources()):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return Scratch(parent / f"{stage}-{digest.hexdigest()[:16]}")


def _loaded_sources() -> list[Path]:
    specs = [getattr(module, "__spec__", None) for module in list(sys.modules.values())]
    # by the spec's name: a stage itself is loaded as __main__
    ours = [s for s in specs if s and s.origin and s.name.split(".")[0] in ("vprlib", "stages")]
    return sorted({Path(spec.origin) for spec in ours})
