"""The sheet of a photograph and its results: everything in its place, long names shortened."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFont

from vprlib.evaluate.gallery import GAP, PER_ROW, PHOTO, TILE, Panel, _fitted, sheet


def panel(grey, width=120, height=90):
    return Panel(np.full((height, width, 3), grey, np.uint8), "1", ("name.jpg",))


@pytest.mark.parametrize("count", [1, 5, 7])
def test_results_stand_right_of_the_photograph_in_rows(count):
    greys = [20 + 10 * i for i in range(count)]
    page = Image.open(io.BytesIO(sheet(panel(0), [panel(grey) for grey in greys])))
    assert page.getpixel((GAP + PHOTO[0] // 2, GAP + PHOTO[1] // 2)) == (0, 0, 0)
    across, down = TILE[0] + GAP, TILE[1] + GAP + 8 + 2 * 22
    for place, grey in enumerate(greys):
        x = PHOTO[0] + 3 * GAP + place % PER_ROW * across + TILE[0] // 2
        y = GAP + place // PER_ROW * down + TILE[1] // 2
        assert page.getpixel((x, y)) == (grey,) * 3
    assert page.width == PHOTO[0] + 3 * GAP + min(PER_ROW, count) * across


def test_a_portrait_keeps_its_shape():
    page = np.asarray(Image.open(io.BytesIO(sheet(panel(0), [panel(9, 60, 120)]))))
    left = PHOTO[0] + 3 * GAP
    tile = page[GAP : GAP + TILE[1], left : left + TILE[0]]
    columns = np.flatnonzero((tile == 9).all(axis=(0, 2)))
    assert len(columns) == pytest.approx(TILE[1] / 2, abs=1)
    assert columns[0] == pytest.approx(TILE[0] - 1 - columns[-1], abs=1)


def test_a_long_name_keeps_its_end():
    font = ImageFont.load_default(14)
    short = _fitted("a/very/long/folder/" * 9 + "image_007.jpg", font, 200)
    assert short.startswith("…") and short.endswith("image_007.jpg")
    assert font.getlength(short) <= 200
    assert _fitted("image.jpg", font, 200) == "image.jpg"
