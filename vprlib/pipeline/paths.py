"""What the pipeline has left on disk, for the commands that read it."""

from pathlib import Path

from vprlib.pipeline.params import PARAMS_PATH, UserError


def existing(path: Path) -> Path:
    """The path, or a sentence that says which run would make it."""
    if not path.exists():
        raise UserError(
            f"{path} is missing: run `dvc repro` with the set, the variant and the code in the"
            f" switches of {PARAMS_PATH}."
        )
    return path
