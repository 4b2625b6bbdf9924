"""The live version of a map, checked to be of the network and code that ask it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vprlib.cli.choice import Choice, SetParams, choose
from vprlib.cli.maps.filling import digest_of_code, read_by
from vprlib.descriptors.codes import Code
from vprlib.images.decode import ImageSettings
from vprlib.images.index import ImageIndex
from vprlib.model.settings import Precision
from vprlib.pipeline import cache
from vprlib.pipeline.params import JsonObject, UserError
from vprlib.search.request import Neighbors
from vprlib.stores import ask
from vprlib.stores.address import open_store
from vprlib.stores.area import Area
from vprlib.stores.facts import Facts
from vprlib.stores.store import Version, open_live


class MappedChoice(Choice):
    """Its descriptors lie in a map, not in a file."""

    described_in: Precision

    def precision(self) -> Precision:
        return self.described_in


@dataclass(frozen=True)
class FoundInMap:
    """What was found for each query: rows of an index, that of the images found or of all."""

    index: ImageIndex
    degrees: np.ndarray | None
    neighbors: Neighbors


@dataclass(frozen=True)
class OpenMap:
    choice: Choice
    version: Version
    code: Code

    @property
    def facts(self) -> Facts:
        return self.version.facts

    def nearest(
        self, vectors: np.ndarray, count: int, areas: list[Area | None], exact: bool = True
    ) -> FoundInMap:
        """The `count` nearest for each vector [N, D] in its area, which is rounded as a query."""
        dim = vectors.shape[1]
        if dim != self.facts.dim:
            raise UserError(
                f"the network gives {dim} dimensions, but the map has {self.facts.dim}: push it"
                " again."
            )
        quantiser = self.code.quantiser("queries", dim)
        asked = np.asarray(quantiser.decode(quantiser.encode(vectors)), np.float32)
        found = ask.nearest(self.version, asked, count, areas, exact)
        rows = np.array(sorted(found.payloads), np.int64)
        index = _index(self.facts.dataset, [found.payloads[row] for row in rows.tolist()])
        degrees = index.extra["degrees"] if self.facts.is_geographic else None
        near = found.neighbors
        places = np.where(near.rows < 0, -1, np.searchsorted(rows, near.rows))
        return FoundInMap(index, degrees, Neighbors(places, near.distances))


def open_map(
    place: str, dataset: str | None = None, variant: str | None = None, code: str | None = None
) -> OpenMap:
    """The live version of the map at a place; what is not named is as in the map."""
    version = open_live(open_store(place))
    facts = version.facts
    try:
        choice = choose(dataset or facts.dataset, variant or facts.variant, code or facts.name)
        mapped = MappedChoice(*choice)
        mapped.described_in = described_in(facts)
        return checked(version, mapped, SetParams.load(dataset=choice.dataset).images, place)
    except BaseException:
        version.close()
        raise


def checked(version: Version, choice: Choice, images: ImageSettings, place: str) -> OpenMap:
    """An open version, which is of the network and code of the choice."""
    check_query(version.facts, choice, images, place)
    return OpenMap(choice, version, choice.read_code(whitens=False))


def described_in(facts: Facts) -> Precision:
    known: dict[str, Precision] = {"float32": "float32", "bfloat16": "bfloat16"}
    return known.get(facts.described_in, "auto")


def check_query(facts: Facts, choice: Choice, images: ImageSettings, place: str) -> None:
    """Refuses what would compare descriptors of two kinds."""
    again = f"`vpr map push {place}` of the present one, or take the other"
    if cache.digest(choice.model_path) != facts.network:
        raise UserError(
            f"the map {place} is of another network than {choice.model_path} (it says"
            f" {facts.variant}): {again}."
        )
    if digest_of_code(choice.coder_path) != facts.code:
        raise UserError(
            f"the map {place} is of another code than {choice.code} of {choice.variant} (it says"
            f" {facts.name}): {again}."
        )
    if read_by(images) != facts.read_by:
        raise UserError(
            f"the images of the map {place} were read by other settings than"
            f" datasets.{choice.dataset}.images ({facts.read_by}): {again}."
        )


def _index(dataset: str, payloads: Sequence[JsonObject]) -> ImageIndex:
    """Of images that are not at hand: names, positions and degrees alone."""
    names = [str(p.get("name", "")) for p in payloads]
    zeros = np.zeros(len(names), np.int64)
    extra = {"degrees": ask.positions_of(payloads, in_degrees=True)}
    return ImageIndex(
        dataset,
        names,
        ask.positions_of(payloads, in_degrees=False),
        byte_sizes=zeros,
        widths=zeros,
        heights=zeros,
        is_rotated=zeros > 0,
        digests=zeros,
        extra=extra,
    )
