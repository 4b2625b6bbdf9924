"""Which points no other beats, and a picture of them."""

import io

import numpy as np
from PIL import Image

from vprlib.cli.tradeoffs import Point, front, picture


def points(count: int, seed: int) -> list[Point]:
    draw = np.random.default_rng(seed).integers(1, 8, (count, 2)).tolist()
    return [Point(f"p{i}", cost, gain, gain - 1, gain + 1) for i, (cost, gain) in enumerate(draw)]


def test_the_front_is_what_no_other_point_beats() -> None:
    for seed in range(20):
        every = points(15, seed)
        expected = {
            (p.cost, p.gain)
            for p in every
            if not any(
                q.cost <= p.cost and q.gain >= p.gain and (q.cost, q.gain) != (p.cost, p.gain)
                for q in every
            )
        }
        found = front(every)
        assert {(p.cost, p.gain) for p in found} == expected and len(found) == len(expected)
        assert [p.cost for p in found] == sorted(p.cost for p in found)


def test_the_picture_has_a_panel_a_cost_and_the_same_bytes_twice() -> None:
    panels = {"bytes": points(5, 1), "milliseconds": points(5, 2)}
    first = picture(panels, "recall@1")
    assert first == picture(panels, "recall@1")
    width, height = Image.open(io.BytesIO(first)).size
    assert width > 2 * height
    assert picture({"bytes": points(5, 1)}, "recall@1")
