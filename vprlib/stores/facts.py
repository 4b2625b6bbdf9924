"""What a map says of itself: of which network, code and images it is."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError

from vprlib.pipeline.params import JsonObject, UserError

SCHEMA = 1  # of the facts and of what is stored with each image
Precision = Literal["float32", "float16", "uint8"]  # that the engine keeps numbers in
MIDDLE = 128  # what uint8 adds to the whole numbers of int8
DIGITS = 12  # of a version


@dataclass(frozen=True)
class Facts:
    """All but the first two belong to the version: other facts are another version."""

    schema: int
    made: str  # when its first row was pushed
    network: str  # a digest of the network that described the images
    code: str  # of what encodes descriptors; empty for the code `full`
    images: str  # signature of the images and their order
    places: str  # a digest of what else is known of each image
    rows: int  # when it is whole: images that could not be read are not in it
    dim: int
    precision: Precision
    scale: float  # of one step of uint8; 1 for the others
    described_in: str  # the precision that the network computed in
    read_by: str  # how images are read, as JSON
    is_geographic: bool  # whether latitudes and longitudes are known
    has_graph: bool  # for approximate search
    dataset: str
    variant: str
    name: str  # of the code

    @property
    def version(self) -> str:
        """The same for the same content, so that a push that was cut off goes on."""
        told = {**asdict(self), "schema": SCHEMA, "made": ""}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:DIGITS]

    @property
    def title(self) -> str:
        return f"{self.dataset}, {self.variant}, {self.name}"

    def as_json(self) -> JsonObject:
        return asdict(self)

    def numbers(self, vectors: np.ndarray) -> np.ndarray:
        """float32 [n, d] that the engine keeps without a loss, of descriptors as the code has them.

        Queries are rounded: `shift` says how far that moves them.
        """
        if self.precision == "uint8":
            return (np.rint(vectors / np.float32(self.scale)) + MIDDLE).clip(0, 255)
        return vectors.astype(self.precision).astype(np.float32)

    def vectors(self, numbers: np.ndarray) -> np.ndarray:
        """What those numbers stand for."""
        if self.precision == "uint8":
            return (numbers - MIDDLE) * np.float32(self.scale)
        return numbers

    def shift(self, vectors: np.ndarray) -> np.ndarray:
        """How far `numbers` moves each vector [n]."""
        return np.linalg.norm(vectors - self.vectors(self.numbers(vectors)), axis=1)


def facts_of_file(path: Path) -> Facts:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path.parent} is no version of a map: it lacks {path.name}.") from None
    except (OSError, ValueError):
        raise UserError(
            f"{path} cannot be read: drop this version, and push the map again."
        ) from None
    return read_facts(found, str(path.parent))


def read_facts(found: object, where: str) -> Facts:
    """Facts from JSON, checked: a map of another version of vprlib is refused."""
    schema = found.get("schema") if isinstance(found, dict) else None
    if not isinstance(schema, int):
        raise UserError(f"{where} is no map of vprlib: it lacks what `vpr map push` writes first.")
    if schema != SCHEMA:
        raise UserError(
            f"{where} was pushed by another version of vprlib (its schema is {schema}, this one"
            f" reads {SCHEMA}): push the map again, or take that version."
        )
    try:
        return TypeAdapter(Facts).validate_python(found, strict=False)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{where} is damaged ({place}: {first['msg']}): drop it, and push the map again."
        ) from None
