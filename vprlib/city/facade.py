"""Paints the front of a house from its key: floors, windows, shops, masonry."""

import numpy as np
from PIL import Image

from vprlib.city.town import Key

TEXELS = 12  # texture pixels a metre of a facade
LEVELS = 4  # each half as fine as the one before, so that far facades do not flicker
ALWAYS_LIT = 255  # in the glow channel: 0 never shines, 1-254 names a window

WALL, TRIM, GLASS, ACCENT, DOOR, SIGN, LETTER, BAND = range(8)
_WALLS = [
    (150, 75, 60), (200, 160, 90), (225, 210, 175), (150, 150, 150), (95, 95, 105),
    (232, 230, 225), (215, 150, 145), (150, 180, 200), (140, 165, 130), (190, 110, 75),
    (120, 90, 70), (225, 195, 110), (90, 140, 140), (165, 150, 185), (175, 60, 50),
]  # fmt: skip
_ACCENTS = [
    (170, 40, 40), (30, 90, 50), (30, 60, 130), (230, 180, 40), (240, 240, 235), (40, 40, 45),
    (220, 110, 30), (110, 60, 120), (60, 140, 170), (130, 80, 40),
]  # fmt: skip


def facade(key: Key, width_m: float, height_m: float) -> np.ndarray:
    """Colour and glow of a house front, lowest row first, [rows, columns, 4] uint8."""
    rng = np.random.Generator(np.random.PCG64([k % 2**32 for k in key]))
    codes = _front(rng, _texels(width_m), _texels(height_m))
    colour = _palette(rng)[codes]
    colour *= np.where(codes == WALL, _masonry(rng, *codes.shape), 1.0)[..., None]
    glow = _glow(rng, codes)
    return np.dstack([np.clip(colour, 0, 255), glow]).astype(np.uint8)


def _texels(metres: float) -> int:
    """A whole number of the coarsest texels, so that every level fits."""
    coarsest = 2 ** (LEVELS - 1)
    return max(1, round(metres * TEXELS / coarsest)) * coarsest


def _palette(rng: np.random.Generator) -> np.ndarray:
    """A colour for each code, [8, 3]."""
    accents = np.array(_ACCENTS)[rng.permutation(len(_ACCENTS))]
    wall = np.array(_WALLS)[rng.integers(len(_WALLS))]
    trim = np.array([(240, 238, 230), (70, 60, 55), (200, 195, 185), wall * 0.7][rng.integers(4)])
    band = [accents[5], wall * 0.75, trim, wall * 1.2][rng.integers(4)]
    glass = np.array([60, 70, 85]) * rng.uniform(0.7, 1.5)
    rows = [wall, trim, glass, accents[0], accents[1], accents[2], accents[3], band]
    return np.clip(np.array(rows) * rng.uniform(0.9, 1.1, (8, 1)), 8, 250).astype(np.float32)


def _front(rng: np.random.Generator, columns: int, rows: int) -> np.ndarray:
    """What stands where on a house front: floors of windows above a ground floor."""
    codes = np.zeros((rows, columns), np.uint8)
    storey, ground = 3 * TEXELS, round(3.8 * TEXELS)
    bays = max(2, round(columns / TEXELS / rng.uniform(1.9, 3.6)))
    bay = columns // bays
    window = _window(rng, bay, storey)
    is_banded, is_pillared = rng.random(2) < (0.4, 0.25)
    left = (columns - bays * bay) // 2
    for low in range(ground, rows - storey + 1, storey):
        codes[low : low + storey, left : left + bays * bay] = np.tile(window, bays)
        codes[low : low + 4] = BAND if is_banded else codes[low : low + 4]
    if is_pillared:
        codes[ground:, (np.arange(columns) - left) % bay < 4] = BAND
    codes[rows - int(rng.integers(4, 10)) :] = rng.choice([TRIM, BAND, ACCENT])
    (_shop if rng.random() < 0.55 else _hall)(rng, codes[:ground], bays)
    _mural(rng, codes[ground:]) if rng.random() < 0.2 else None
    return codes


def _window(rng: np.random.Generator, bay: int, storey: int) -> np.ndarray:
    """One bay of one storey: a window with frame, bars, sill, and maybe shutters or a balcony."""
    tile = np.zeros((storey, bay), np.uint8)
    half = int(bay * rng.uniform(0.18, 0.40))
    low, high = int(rng.integers(5, 13)), int(rng.integers(26, 33))
    middle = bay // 2
    if rng.random() < 0.35:
        tile[low:high, max(0, middle - half - 5) : middle + half + 5] = ACCENT
    tile[low - 2 : high + 2, middle - half - 1 : middle + half + 2] = TRIM
    tile[low:high, middle - half : middle + half + 1] = GLASS
    if rng.random() < 0.3:
        rows, columns = np.mgrid[low : high + 2, middle - half - 1 : middle + half + 2]
        radius, centre = half + 1, high + 1 - half  # of a round top
        is_outside = (rows - centre).clip(0) ** 2 + (columns - middle) ** 2 > radius**2
        tile[rows, columns] = np.where(is_outside & (rows > centre), WALL, tile[rows, columns])
    _bars(rng, tile[low:high, middle - half : middle + half + 1])
    if rng.random() < 0.3:
        tile[2:9, 1 : bay - 1 : int(rng.integers(1, 4))] = rng.choice([TRIM, ACCENT, BAND])
    return tile


def _bars(rng: np.random.Generator, pane: np.ndarray) -> None:
    """Divides a window pane in place."""
    if rng.random() < 0.7 and pane.shape[1] > 5:
        pane[:, pane.shape[1] // 2] = TRIM
    if rng.random() < 0.6:
        pane[int(pane.shape[0] * rng.choice([0.5, 0.65])), :] = TRIM


def _shop(rng: np.random.Generator, codes: np.ndarray, bays: int) -> None:
    """A ground floor of shop windows below a sign with lettering, painted in place."""
    columns = codes.shape[1]
    codes[:, 3:-3] = rng.choice([TRIM, ACCENT, BAND, WALL])
    for part in np.array_split(np.arange(4, columns - 4), max(2, bays // 2)):
        codes[5:28, part[1:-1]] = GLASS
    door = int(rng.integers(6, columns - 20))
    codes[:27, door : door + 13] = DOOR
    codes[31:41, 3:-3] = SIGN
    letters = np.flatnonzero(np.repeat(rng.random(columns // 3 + 1) < 0.55, 3)[:columns])
    start, stop = sorted(rng.integers(6, columns - 6, 2))
    codes[33:39, letters[(letters >= start) & (letters < max(stop, start + 24))]] = LETTER
    if rng.random() < 0.4:
        codes[26:32, 3:-3] = np.where((np.arange(columns - 6) // 6) % 2, ACCENT, LETTER)


def _hall(rng: np.random.Generator, codes: np.ndarray, bays: int) -> None:
    """A ground floor with one door and windows between, painted in place."""
    columns = codes.shape[1]
    bay = columns // bays
    codes[:6] = rng.choice([BAND, TRIM, WALL])
    door = int(rng.integers(bays))
    for k in range(bays):
        middle, half = k * bay + bay // 2, max(4, int(bay * 0.25))
        if k == door:
            codes[:32, middle - 8 : middle + 8] = TRIM
            codes[:29, middle - 6 : middle + 6] = DOOR
        else:
            codes[11:31, middle - half - 1 : middle + half + 1] = TRIM
            codes[13:29, middle - half : middle + half] = GLASS


def _mural(rng: np.random.Generator, codes: np.ndarray) -> None:
    """A painted advertisement that covers some windows, in place."""
    rows, columns = codes.shape
    height, width = min(rows - 6, int(rng.integers(30, 60))), int(columns * rng.uniform(0.4, 0.8))
    low, left = int(rng.integers(3, rows - height)), int(rng.integers(1, columns - width))
    small = rng.choice([SIGN, SIGN, LETTER, ACCENT, DOOR], (4, 4))
    grid = np.ix_(np.arange(height) * 4 // height, np.arange(width) * 4 // width)
    codes[low : low + height, left : left + width] = small[grid]


def _masonry(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Brightness of bare wall: bricks, stone, boards or plaster, with stains, [rows, columns]."""
    course, length, depth = [(3, 6, 0.25), (6, 12, 0.15), (4, columns, 0.12), (rows, 8, 0.1)][
        rng.integers(4)
    ]
    row, column = np.arange(rows)[:, None], np.arange(columns)[None]
    is_joint = (row % course == 0) | ((column + (row // course % 2) * (length // 2)) % length == 0)
    stains = rng.uniform(0.88, 1.08, (rows // 8 + 1, columns // 8 + 1)).astype(np.float32)
    smooth = np.asarray(Image.fromarray(stains).resize((columns, rows), Image.Resampling.BILINEAR))
    return smooth * (1 - np.float32(depth) * is_joint)


def _glow(rng: np.random.Generator, codes: np.ndarray) -> np.ndarray:
    """Each window's number, so that a shot can choose which windows are lit."""
    cell = 2 * TEXELS
    rows, columns = codes.shape
    names = rng.integers(1, 255, (rows // cell + 1, columns // cell + 1), dtype=np.uint8)
    window = np.repeat(np.repeat(names, cell, 0), cell, 1)[:rows, :columns]
    return np.where(codes == GLASS, window, np.where(codes == LETTER, ALWAYS_LIT, 0))
