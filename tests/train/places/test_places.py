"""Places from positions and headings, and the batches that they are learnt in."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from vprlib.train.places.batches import chances, draw_batches
from vprlib.train.places.cells import cells_of
from vprlib.train.places.cliques import Cliques, cliques_of
from vprlib.train.places.shots import Shots
from vprlib.train.settings import CellSettings, CliqueSettings, PlacesSettings

RADIUS_M = 12.0


def shots(count: int = 200, seed: int = 1, side_m: float = 100.0) -> Shots:
    """Some have no heading."""
    draw = np.random.default_rng(seed)
    headings = draw.uniform(0, 360, count)
    headings[::7] = np.nan
    return Shots(draw.uniform(0, side_m, (count, 2)), headings, count // 2, 25.0)


def are_one_place(some: Shots, a: int, b: int, heading_deg: float | None) -> bool:
    if np.hypot(*(some.positions[a] - some.positions[b])) > RADIUS_M:
        return False
    turned = abs((some.headings[a] - some.headings[b] + 180) % 360 - 180)
    return heading_deg is None or bool(np.isnan(turned)) or turned <= heading_deg


def cliques(some: Shots, members: str = "random", heading: float | None = None) -> Cliques:
    settings = CliqueSettings(kind="cliques", members=members, heading_deg=heading)
    return cliques_of(some, RADIUS_M, 3, settings)


def by_number(row: int, others: np.ndarray) -> np.ndarray:
    """Stands for distances of descriptors."""
    return np.abs(others - row).astype(float)


@pytest.mark.parametrize("heading", [None, 60.0])
@pytest.mark.parametrize("members", ["random", "alike"])
def test_images_of_a_clique_are_near_each_other_and_in_no_other(
    members: str, heading: float | None
) -> None:
    some = shots()
    found = cliques(some, members, heading).draw(1, 1, by_number)
    assert len(found) > 20
    assert len(set(found.ravel().tolist())) == found.size
    for place in found.tolist():
        assert all(are_one_place(some, a, b, heading) for a, b in itertools.combinations(place, 2))


def test_cliques_equal_the_loop() -> None:
    some, heading = shots(80, side_m=50.0), 90.0
    made = cliques(some, "alike", heading)
    found = made.draw(3, 2, by_number)
    order = made.draw(3, 2, by_number)[:, 0].tolist()  # those that became a first image
    free, twin = set(range(80)), []
    for first in order:
        place = [first]
        for other in sorted(free - {first}, key=lambda row: (abs(row - first), row)):
            if len(place) < 3 and all(are_one_place(some, m, other, heading) for m in place):
                place.append(other)
        free -= set(place)
        twin.append(place)
    assert found.tolist() == twin


def test_no_place_is_left_that_could_be_made_around_a_free_image() -> None:
    """Of three images each; a first image with too few neighbours is passed over."""
    some = shots(60, side_m=40.0)
    made = cliques(some, "alike")
    rest = sorted(set(range(60)) - set(made.draw(1, 1, by_number).ravel().tolist()))
    for a in rest:
        near = [b for b in rest if b != a and are_one_place(some, a, b, None)]
        assert not any(are_one_place(some, near[0], b, None) for b in near[1:])


def test_cliques_depend_on_seed_and_epoch_alone() -> None:
    made = cliques(shots())
    drawn = {(s, e): made.draw(s, e, None).tobytes() for s in (1, 2) for e in (1, 2)}
    assert len(set(drawn.values())) == 4
    assert cliques(shots()).draw(2, 1, None).tobytes() == drawn[2, 1]


def test_images_with_too_few_neighbours_are_counted_as_left_out() -> None:
    positions = np.array([(0.0, 0), (5, 0), (9, 0), (100, 0), (105, 0), (300, 0)])
    some = Shots(positions, np.full(6, np.nan), 6, 25.0)
    assert cliques(some).usable().tolist() == [True, True, True, False, False, False]


def cells(some: Shots, heading: float | None = 90.0) -> CellSettings:
    return cells_of(some, 2, CellSettings(kind="cells", cell_m=10.0, heading_deg=heading))


@pytest.mark.parametrize("heading", [None, 90.0, 360.0])
def test_cells_equal_the_loop(heading: float | None) -> None:
    some = shots(300)
    corner = some.positions.min(axis=0)
    twin: dict[tuple, list[int]] = {}
    for row in range(300):
        key = tuple(int(v // 10) for v in some.positions[row] - corner)
        turn = some.headings[row]
        key += (None if heading is None or np.isnan(turn) else int(turn // heading),)
        if heading is None:
            key = key[:2]
        twin.setdefault(key, []).append(row)
    made = cells(some, heading)
    assert len(set(made.cells.tolist())) == len(twin)
    for rows in twin.values():
        assert len(set(made.cells[rows].tolist())) == 1
    found = made.draw(1, 1)
    assert len(found) == sum(len(rows) >= 2 for rows in twin.values())
    for place in found.tolist():
        assert len(set(place)) == 2 and len(set(made.cells[place].tolist())) == 1
    assert made.usable().sum() == sum(len(rows) for rows in twin.values() if len(rows) >= 2)


def test_a_cell_gives_other_images_in_another_epoch() -> None:
    made = cells(shots(300))
    drawn = {made.draw(1, epoch).tobytes() for epoch in (1, 2, 3)}
    assert len(drawn) == 3
    assert made.draw(1, 2).tobytes() in drawn


def settings(**changes: object) -> PlacesSettings:
    given = {"labels": {"kind": "cliques"}, "schedule": {"kind": "steps"}, "places_a_batch": 4}
    return PlacesSettings(kind="places", **given | changes)


PLACES = np.arange(3 * 22).reshape(22, 3)


@pytest.mark.parametrize("distances", [None, by_number])
@pytest.mark.parametrize("pool", [2, 1000])
def test_each_place_is_in_one_batch(distances: Callable | None, pool: int) -> None:
    found = draw_batches(PLACES, settings(place_pool=pool), 1, distances)
    assert found.shape[1] == 12
    rows = found[found >= 0]
    assert len(set(rows.tolist())) == len(rows) >= 3 * 21  # one that would be alone may be left
    for batch in found:
        places = batch[batch >= 0].reshape(-1, 3)
        assert len(places) >= 2
        assert all(place.tolist() in PLACES.tolist() for place in places)


def test_batches_depend_on_seed_and_epoch_alone() -> None:
    drawn = {
        (seed, epoch): draw_batches(PLACES, settings(seed=seed), epoch, by_number).tobytes()
        for seed in (1, 2)
        for epoch in (1, 2)
    }
    assert len(set(drawn.values())) == 4
    assert draw_batches(PLACES, settings(seed=2), 1, by_number).tobytes() == drawn[2, 1]


def test_places_of_a_batch_look_alike() -> None:
    """Places of two kinds, far from each other: the first batches are of one kind."""
    places = np.arange(40)[:, None]

    def kinds(row: int, others: np.ndarray) -> np.ndarray:
        return (others % 2 != row % 2).astype(float)

    for epoch in range(5):
        alike = draw_batches(places, settings(), epoch, kinds)[:5]
        assert all(len(set((batch % 2).tolist())) == 1 for batch in alike)
    mixed = draw_batches(places, settings(), 1, None)[:5]
    assert any(len(set((batch % 2).tolist())) == 2 for batch in mixed)


def test_chances_fall_linearly_with_the_distance() -> None:
    assert chances(np.array([0.0, 1.0, 3.0]), 2).tolist() == pytest.approx([0.6, 0.4, 0.0])
    for apart in ([1.0, 1.0, 1.0], [0.5, 1.0, 1.0]):
        found = chances(np.array(apart), 3)
        assert (found > 0).all() and found.sum() == pytest.approx(1)


def test_pairs_within_the_radius_are_never_negatives() -> None:
    positions = np.array([(0.0, 0), (20, 0), (45, 0)])
    some = Shots(positions, np.zeros(3), 3, 25.0)
    assert some.are_negatives(np.array([0, 1, 2])).tolist() == [
        [False, False, True],
        [False, False, False],
        [True, False, False],
    ]


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ({"kind": "steps"}, [1, 1, 1, 1, 1, 1]),
        ({"kind": "steps", "factor": 0.5, "epochs": [1, 2]}, [1, 1, 0.5, 0.5, 0.25, 0.25]),
        ({"kind": "steps", "warm_up": 4}, [0.25, 0.5, 0.75, 1, 1, 1]),
        ({"kind": "steps", "warm_up": 2, "unit": "epochs"}, [0.25, 0.5, 0.75, 1, 1, 1]),
        ({"kind": "linear", "steps": 4, "end": 0.2}, [1, 0.8, 0.6, 0.4, 0.2, 0.2]),
    ],
)
def test_schedules_by_hand(schedule: dict, rates: list[float]) -> None:
    """Three epochs of two steps."""
    plan = settings(schedule=schedule).schedule
    found = [plan.factor_at(1 + done // 2, done, (done % 2 + 1) / 2) for done in range(6)]
    assert found == pytest.approx(rates)
