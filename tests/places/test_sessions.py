"""Sessions by time, folder or camera; and thinning of a car that stood still."""

import numpy as np
import pytest

from vprlib.places.sessions import SessionSettings, ThinSettings, sessions_of, thinned


def parted(clocks: list[float], **settings: object) -> tuple[list[str], str]:
    names = [str(n) for n in range(len(clocks))]
    given = SessionSettings.model_validate(settings)
    return sessions_of(np.array(clocks, float), names, [f"c{n}" for n in names], given)


def test_a_pause_ends_a_session_whatever_the_order_of_the_names() -> None:
    found, by = parted([7200, 0, 1700, 3400, 9100])
    assert by == "time"
    assert found[1] == found[2] == found[3] == "1970-01-01T00:00:00"
    assert found[0] == "1970-01-01T02:00:00"
    assert found[4] == "1970-01-01T02:31:40"
    assert parted([0, 1800], pause_min=30)[0] == ["1970-01-01T00:00:00"] * 2
    assert len(set(parted([0, 1801], pause_min=30)[0])) == 2


def test_sessions_are_as_a_loop_over_sorted_times_makes_them() -> None:
    clocks = np.random.default_rng(1).uniform(0, 10**5, 60)
    found, _ = parted(clocks.tolist(), pause_min=20)
    order = np.argsort(clocks)
    number, expected = 0, {}
    for before, row in zip([None, *order], order, strict=False):
        number += before is not None and clocks[row] - clocks[before] > 1200
        expected[row] = number
    pairs = {(found[row], expected[row]) for row in range(60)}
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}) > 5


def test_without_all_times_folders_tell_sessions_apart() -> None:
    assert parted([0, np.nan]) == (["0", "1"], "folder")
    assert parted([0, np.nan], by="camera") == (["c0", "c1"], "camera")
    found, by = parted([0, np.nan, 5], by="time")
    assert by == "time" and found[1] == "without a time" and found[0] == found[2]
    assert parted([]) == ([], "folder")


def slow_twin(positions, headings, settings):
    kept = []
    for row in range(len(positions)):
        near = 0
        for other in kept:
            turned = abs((headings[other] - headings[row] + 180) % 360 - 180)
            is_near = np.linalg.norm(positions[other] - positions[row]) <= settings.within_m
            near += is_near and (np.isnan(turned) or turned <= settings.within_deg)
        if near < settings.most:
            kept.append(row)
    return np.isin(np.arange(len(positions)), kept)


@pytest.mark.parametrize("most", [1, 3])
def test_thinning_keeps_what_the_slow_loop_keeps(most: int) -> None:
    draw = np.random.default_rng(most)
    positions = draw.uniform(-20, 20, (300, 2))
    headings = np.where(draw.random(300) < 0.2, np.nan, draw.uniform(0, 360, 300))
    settings = ThinSettings(most=most, within_m=4.0, within_deg=40.0)
    found = thinned(positions, headings, settings)
    assert found.tolist() == slow_twin(positions, headings, settings).tolist()
    assert 0 < found.sum() < 300


def test_a_car_that_stood_still_leaves_the_first_photographs() -> None:
    found = thinned(np.zeros((10, 2)), np.zeros(10), ThinSettings(most=3))
    assert found.tolist() == [True] * 3 + [False] * 7
