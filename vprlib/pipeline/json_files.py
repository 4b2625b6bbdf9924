"""The one reader of JSON files: what they hold is checked before it is used."""

from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from vprlib.pipeline.params import UserError

Kind = TypeVar("Kind")
AGAIN = "run `dvc repro`, which makes it again"


def read_json(path: Path, kind: type[Kind]) -> Kind:
    """The content of a JSON file, checked to be of that kind."""
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise damaged(path, f"{place}: {first['msg']}" if place else first["msg"]) from None


def damaged(path: Path, problem: str, remedy: str = AGAIN) -> UserError:
    return UserError(f"{path} is damaged, or of another version ({problem}): {remedy}.")
