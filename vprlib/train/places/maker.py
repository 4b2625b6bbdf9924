"""The places that can be formed of a training set, as the settings ask for them."""

from dataclasses import dataclass

import numpy as np

from vprlib.images.index import ImageIndex
from vprlib.pipeline.params import UserError
from vprlib.places.geo import count_within
from vprlib.train.places.cells import Cells, cells_of
from vprlib.train.places.cliques import Cliques, cliques_of
from vprlib.train.places.shots import Shots, shots_of
from vprlib.train.settings import PlacesSettings


@dataclass(frozen=True)
class Places:
    shots: Shots
    labels: Cliques | Cells

    def counts(self) -> dict[str, int]:
        usable = int(self.labels.usable().sum())
        return {"images": usable, "images_left_out": len(self.shots) - usable}


def places_in(
    database: ImageIndex,
    queries: ImageIndex,
    positive_m: float,
    negative_m: float,
    settings: PlacesSettings,
    is_listed: bool,
) -> Places:
    """An error if the set has no positions or no headings where they are needed, or no two places.

    `negative_m` is the radius in which no image is a negative.
    """
    if is_listed:
        raise UserError(
            f"train.kind is 'places', but {database.set_name} lists right images instead of giving"
            " positions: use triplets (`vpr use` with the preset of the set)."
        )
    chosen, size = settings.labels, settings.images_a_place
    is_all = settings.train_images == "all"
    shots = shots_of(database, queries if is_all else None, negative_m)
    if chosen.heading_deg is not None and np.isnan(shots.headings).all():
        raise UserError(
            f"train.labels.heading_deg is {chosen.heading_deg:g}, but no image of"
            f" {database.set_name} has a heading: set it to null."
        )
    labels: Cliques | Cells
    if chosen.kind == "cells":
        labels, where = cells_of(shots, size, chosen), f"in a square of {chosen.cell_m:g} m"
    else:
        labels = cliques_of(shots, positive_m, size, chosen)
        where = f"within {positive_m:g} m of each other"
    rows = labels.draw(settings.seed, 0, None)
    where_from = shots.positions[rows[:, 0]]
    if count_within(where_from, where_from, negative_m).min(initial=len(rows)) == len(rows):
        raise UserError(
            f"{database.set_name} has fewer than two places that are over {negative_m:g} m apart,"
            f" of {size} images {where}: lower train.images_a_place, or check the positions."
        )
    return Places(shots, labels)
