"""Where a photograph was on a track, by its time."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from photographs import gpx

from vprlib.formats.gpx import on_track, read_tracks
from vprlib.pipeline.params import UserError

T0 = 1_700_000_000.0


def slow_twin(points: np.ndarray, time: float) -> list[float]:
    """The same for one time, point by point."""
    for (a, lat_a, lon_a), (b, lat_b, lon_b) in pairwise(points):
        if time in (a, b):
            return [lat_a, lon_a] if time == a else [lat_b, lon_b]
        if a < time < b and b - a <= 120:
            part = (time - a) / (b - a)
            return [lat_a + part * (lat_b - lat_a), lon_a + part * (lon_b - lon_a)]
    return [np.nan, np.nan]


def test_photographs_lie_on_the_way_between_two_points() -> None:
    draw = np.random.default_rng(1)
    times = np.cumsum(draw.choice([10, 30, 115, 125, 900], 40))
    points = np.stack([times, draw.uniform(52, 53, 40), draw.uniform(13, 14, 40)], axis=1)
    asked = np.concatenate([draw.uniform(times[0] - 50, times[-1] + 50, 200), times[::7]])
    expected = [slow_twin(points, time) for time in asked]
    np.testing.assert_allclose(on_track(points, asked), expected, atol=1e-12)
    assert np.isnan(expected).any() and np.isfinite(expected).any()


def test_a_way_over_the_date_line_is_short() -> None:
    points = np.array([[0.0, 10, 179.99], [100.0, 10, -179.99]])
    found = on_track(points, np.array([25.0, 75.0, np.nan]))
    np.testing.assert_allclose(found[:2, 1], [179.995, -179.995])
    assert np.isnan(found[2]).all()


def test_tracks_are_read_and_put_in_order(tmp_path: Path) -> None:
    late = gpx(tmp_path / "b.gpx", [(T0 + 60, 1.5, 2.5)])
    early = gpx(tmp_path / "a.gpx", [(T0, 1.0, 2.0), (T0 + 10, 1.1, 2.1)])
    found = read_tracks([late, early])
    assert found.tolist() == [[T0, 1.0, 2.0], [T0 + 10, 1.1, 2.1], [T0 + 60, 1.5, 2.5]]
    assert read_tracks([]).shape == (0, 3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no xml", r"is no GPX track \("),
        ('<!DOCTYPE x [<!ENTITY a "b">]><gpx/>', "without a DTD"),
        ("", "is no GPX track"),
        (
            '<gpx xmlns="x"><trkpt lat="95" lon="1"><time>2024-01-01</time></trkpt></gpx>',
            "has no time or no position",
        ),
        (
            '<gpx xmlns="x"><trkpt lat="5" lon="1"><time>yesterday</time></trkpt></gpx>',
            "point of yesterday has no time or no position",
        ),
    ],
)
def test_what_is_no_track_is_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "x.gpx").write_text(text)
    with pytest.raises(UserError, match=said):
        read_tracks([tmp_path / "x.gpx"])
