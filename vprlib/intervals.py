"""How far a share of right answers can be trusted: its interval, by location."""

from typing import Annotated

import numpy as np
from pydantic import Field

from vprlib.params import Section

WIDEST = 1e6  # standard errors: so many are no bound


class IntervalSettings(Section):
    """How sure, and what counts as one location; describes no image and searches nothing again."""

    # queries this near to the first one of their location belong to it
    location_m: Annotated[float, Field(gt=0)] = 1.0
    # the share of intervals that hold the truth
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95


def share_interval(
    right: np.ndarray, place: np.ndarray, settings: IntervalSettings
) -> tuple[float, float]:
    """The interval of the share of `right` [Q], for queries at the locations `place` [Q].

    Wilson's score interval for as many independent queries as these are worth. Queries of one
    location fail together: the variance between locations over that of independent queries is the
    design effect. To it is added one wrong answer whose whole location is wrong, so that a share of
    0 or 1 keeps a width. Quantiles are Student's, for as many locations of equal size as these are
    worth. From one location nothing follows: (0, 1).
    """
    from scipy.special import stdtrit

    labels = np.unique(place, return_inverse=True)[1]
    sizes, found = np.bincount(labels), np.bincount(labels, right)
    total, squares = sizes.sum(), (sizes**2).sum()
    if len(sizes) < 2:
        return 0.0, 1.0
    share = found.sum() / total
    freedom = total**2 / squares - 1
    quantile = min(float(stdtrit(freedom, (1 + settings.level) / 2)), WIDEST)
    common = max(share, 1 - share)
    between = ((found - share * sizes) ** 2 / (1 - sizes / total)).sum()
    effect = (between + common * squares / total) / (total * share * (1 - share) + common)
    ratio = quantile**2 * effect / total  # of the quantile's square to the queries' worth
    centre = (share + ratio / 2) / (1 + ratio)
    half = np.sqrt(ratio * share * (1 - share) + ratio**2 / 4) / (1 + ratio)
    return float(max(centre - half, 0.0)), float(min(centre + half, 1.0))
