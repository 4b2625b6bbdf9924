"""Places as cliques: images that all lie within a radius of each other."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vprlib.pipeline.draws import Draw, generator
from vprlib.places.geo import Pairs, apart_deg, pairs_within
from vprlib.train.places.shots import Shots
from vprlib.train.settings import CliqueSettings

# distances of descriptors [n] between one image and some others
Distances = Callable[[int, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Cliques:
    shots: Shots
    near: Pairs  # other images within the radius, and of a near heading, of each image
    radius_m: float
    size: int  # images of a place
    settings: CliqueSettings

    def usable(self) -> np.ndarray:
        """Whether each image [N] has enough others near it; they need not be near each other."""
        return self.near.counts() >= self.size - 1

    def draw(self, seed: int, epoch: int, distances: Distances | None) -> np.ndarray:
        """Rows [n, M] of places that share no image, each around an image of a random order.

        The others of a place are those most like its first image, or any if there are no distances.
        """
        order = generator(Draw.PLACES, seed, epoch).permutation(len(self.shots))
        is_free = np.ones(len(self.shots), bool)
        found = []
        for first in order.tolist():
            near = self.near.of(first)
            near = near[is_free[near]]
            if not is_free[first] or len(near) < self.size - 1:
                continue
            if self.settings.members == "random" or distances is None:
                near = generator(Draw.MEMBERS, seed, epoch, first).permutation(near)
            else:
                near = near[np.argsort(distances(first, near), kind="stable")]
            place = self._grown(first, near)
            if len(place) == self.size:
                is_free[place] = False
                found.append(place)
        return np.array(found, np.int64).reshape(-1, self.size)

    def _grown(self, first: int, others: np.ndarray) -> list[int]:
        """Adds the others in their order if they lie near all images that were added before."""
        place = [first]
        is_left = np.ones(len(others), bool)
        while len(place) < self.size and is_left.any():
            at = int(np.argmax(is_left))
            added = int(others[at])
            place.append(added)
            is_left &= self.shots.are_near(others, added, self.radius_m, self.settings.heading_deg)
            is_left[: at + 1] = False
        return place


def cliques_of(shots: Shots, radius_m: float, size: int, settings: CliqueSettings) -> Cliques:
    near = pairs_within(shots.positions, shots.positions, radius_m)
    near = near.keep(near.rows != near.queries())
    if settings.heading_deg is not None:
        turned = apart_deg(shots.headings[near.queries()], shots.headings[near.rows])
        near = near.keep(~(turned > settings.heading_deg))
    return Cliques(shots, near, radius_m, size, settings)
