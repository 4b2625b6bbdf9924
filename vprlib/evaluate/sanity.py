"""Why a score can be near chance: looks at a few descriptors and names the likely causes."""

import numpy as np

from vprlib.descriptors.rows import Rows
from vprlib.evaluate.recall import Result
from vprlib.pipeline.draws import some_rows
from vprlib.places.geo import Pairs
from vprlib.places.truth import Near, Truth

SAMPLED = 64  # images of a side
RIVALS = 4  # right images and as many random ones that each is held against
TELLING = 0.65  # of 64 fair tosses, so many show heads once in a hundred times
EQUAL = 0.02  # a mean distance of unit vectors this small tells no image from another
SEED = 1


def doubted(result: Result, stored: Rows, wanted: Rows, truth: Truth, variant: str) -> list[str]:
    """A warning if the recall is hardly better than chance, else nothing."""
    if not result.is_near_chance:
        return []
    found = causes(stored, wanted, truth, variant, float(result.metrics["chance_recall@1"]))
    return ["HARDLY BETTER THAN CHANCE, likely because: " + "; ".join(found)]


def causes(stored: Rows, wanted: Rows, truth: Truth, variant: str, chance: float) -> list[str]:
    """The likely causes of a score near chance, most certain first; at least one."""
    rng = np.random.default_rng(SEED)
    database, queries = (some_rows(rng, side.shape[0], SAMPLED) for side in (stored, wanted))
    sides = {"database": _read(stored, database), "query": _read(wanted, queries)}
    broken = [
        f"{int((~np.isfinite(vectors).all(axis=1)).sum())} of {len(vectors)} {side} descriptors"
        " hold NaN or infinity: the network is broken"
        for side, vectors in sides.items()
        if not np.isfinite(vectors).all()
    ]
    if broken:
        return broken
    equal = [
        f"{side} descriptors are all but equal (mean distance {spread:.4f}): weights not fitted,"
        " or the same image over and over"
        for side, vectors in sides.items()
        if len(vectors) > 1  # nothing can be said of a single one
        and (spread := np.linalg.norm(vectors - vectors.mean(axis=0), axis=1).mean()) < EQUAL
    ]
    if equal:
        return equal
    found = []
    if chance > 0.5:
        found.append("over half of the database is right: radius_m is too large")
    if 2 * int((truth.counts() == 0).sum()) > wanted.shape[0]:
        found.append("most queries have no right image: wrong coordinates, or radius_m too small")
    asked = _closer(wanted, stored, queries, truth.take(queries).positives(), rng)
    among = _closer(stored, stored, database, _neighbours(truth, database), rng)
    if asked >= TELLING:
        found.append(f"right images are nearer than others ({_percent(asked)}), but hardly first")
        weak = variant.startswith("off_the_shelf")
        found.append("a network that is not trained" if weak else "a weak network")
    elif among >= TELLING:
        found.append(
            "database images near each other look alike"
            f" ({_percent(among)}), but queries and their right images do not ({_percent(asked)}):"
            " names and features of the queries out of step, or another coordinate system"
        )
    else:
        found.append(
            f"right images are no nearer than others ({_percent(asked)}): names and features out"
            " of step, weights not fitted, or positions of elsewhere"
        )
    return found


def _read(rows: Rows, wanted: np.ndarray) -> np.ndarray:
    """Rows in any order, each read once, as HDF5 wants them rising."""
    return np.stack([rows[int(row)] for row in wanted]).astype(np.float64)


def _neighbours(truth: Truth, rows: np.ndarray) -> Pairs:
    """The database images near each of these but itself; none where positions are not known."""
    if not isinstance(truth, Near):
        return Pairs(np.zeros(len(rows) + 1, np.int64), np.zeros(0, np.int64))
    pairs = Near(truth.database[rows], truth.database, truth.radius_m).positives()
    return pairs.keep(pairs.rows != rows[pairs.queries()])


def _closer(
    asked: Rows, stored: Rows, rows: np.ndarray, pairs: Pairs, rng: np.random.Generator
) -> float:
    """How often the nearest of a few right images is nearer than that of as many random ones."""
    wins = []
    for number, row in enumerate(rows.tolist()):
        right = pairs.of(number)
        if not len(right):
            continue
        chosen = rng.permutation(right)[:RIVALS]
        others = rng.integers(0, stored.shape[0], len(chosen))
        vector = _read(asked, np.array([row]))
        near, far = (
            np.linalg.norm(_read(stored, some) - vector, axis=1).min() for some in (chosen, others)
        )
        wins.append(0.5 if near == far else float(near < far))
    return float(np.mean(wins)) if wins else 0.5


def _percent(share: float) -> str:
    return f"{100 * share:.0f} % of the time"
