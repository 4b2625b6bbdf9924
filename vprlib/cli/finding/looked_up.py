"""What `vpr find` is asked, and what it found in a map of Qdrant."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vprlib.cli.choice import Choice, SetParams
from vprlib.cli.finding.areas import asked_areas
from vprlib.cli.finding.describers import describer
from vprlib.cli.finding.searching import Seen, depth_of, judged, photographs
from vprlib.cli.maps.opened import OpenMap, open_map
from vprlib.images.batches import ImageSource
from vprlib.images.index import ImageIndex
from vprlib.pipeline.params import UserError
from vprlib.search.request import Neighbors, no_neighbors
from vprlib.stores.area import Area


@dataclass(frozen=True)
class Question:
    """The options of the command."""

    photo: Path
    names: tuple[str | None, str | None, str | None]  # set, variant and code
    count: int
    near: str | None
    within_m: float | None
    inside: str | None
    frames: int
    verify: bool
    onnx: Path | None
    picture: Path | None
    is_map_printed: bool

    @property
    def is_folder(self) -> bool:
        return self.photo.is_dir()


@dataclass(frozen=True)
class LookedUp:
    """The photographs, and what was found for them."""

    choice: Choice
    p: SetParams
    photos: ImageSource
    database: ImageIndex  # a map's: of the images that were found alone
    degrees: np.ndarray | None
    seen: Seen
    of: str  # how many images, and where
    lost: int  # photographs without a position, or without an image around them


def check_degrees(question: Question, is_known: bool, dataset: str) -> None:
    if question.is_map_printed and not is_known:
        raise UserError(
            f"GeoJSON needs degrees, but those of {dataset} are not known: set"
            f" datasets.{dataset}.utm_zone, such as 17N."
        )


def in_map(question: Question, place: str, approximate: bool) -> LookedUp:
    """Asks the live version of a map, which holds names and positions, but no images."""
    given = {
        "--verify": question.verify,
        "--picture": question.picture is not None,
        "--sequence": question.frames > 1,
    }
    if needing := [name for name, is_given in given.items() if is_given]:
        raise UserError(f"{needing[0]} needs the files of the database: leave --map or it out.")
    opened = open_map(place, *question.names)
    try:
        return _asked(opened, question, place, approximate)
    finally:
        opened.version.close()


def _asked(opened: OpenMap, question: Question, place: str, approximate: bool) -> LookedUp:
    facts, choice = opened.facts, opened.choice
    if approximate and not facts.has_graph:
        raise UserError(
            f"the map {place} has no graph for --approximate: leave it out, or `vpr map push"
            " --graph`."
        )
    check_degrees(question, facts.is_geographic, choice.dataset)
    p = SetParams.load(dataset=choice.dataset)
    folder, index = photographs(question.photo, p.runtime.workers)
    given = question.near, question.within_m, question.inside
    areas, known = asked_areas(*given, folder, index, facts.is_geographic)
    photos = ImageSource(index, folder, p.images)
    describe = describer(question.onnx, choice, p, use_export=not question.is_folder)
    vectors = describe(photos, p.runtime)[known]
    depth = depth_of(question.count, verify=False)
    found = opened.nearest(vectors, depth, [areas[n] for n in known], not approximate)
    neighbors = _of_all(found.neighbors, known, len(index))
    lost = int((neighbors.rows[:, 0] < 0).sum()) if question.near or question.inside else 0
    if lost == len(index):
        raise UserError(
            f"no image of the map lies {_title(areas)}: raise --within, or check the order"
            " (latitude first)."
        )
    seen = judged(choice, neighbors, found.index, 1)
    only = "" if areas[0] is None or question.is_folder else f" {areas[0].title}"
    of = f"{facts.rows} images of {facts.title} in {place}{only}"
    return LookedUp(choice, p, photos, found.index, found.degrees, seen, of, lost)


def _of_all(found: Neighbors, known: np.ndarray, count: int) -> Neighbors:
    """Those that were not asked have found nothing."""
    every = no_neighbors((count, found.rows.shape[1]))
    every.rows[known], every.distances[known] = found.rows, found.distances
    return every


def _title(areas: Sequence[Area | None]) -> str:
    different = {area.title for area in areas if area is not None}
    return different.pop() if len(different) == 1 else "around any of the photographs"
