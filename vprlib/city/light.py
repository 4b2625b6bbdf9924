"""Light of day, dusk and night: colours of sun, shade, sky, lamps and lit windows."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

SKY_ROWS, SKY_COLUMNS = 48, 256  # the sky's picture: by slope and all the way around
LIGHTS = ("day", "dusk", "night")


@dataclass(frozen=True)
class Light:
    """Colours are red, green, blue; 1 shows a surface as it is painted."""

    shade: np.ndarray  # what every surface gets
    sun: np.ndarray  # what a wall straight towards the sun gets in addition
    sun_deg: float  # where the sun stands, clockwise from north
    lamps: np.ndarray  # what the foot of a wall gets from street lamps
    lit: float  # share of the windows that are lit
    zenith: np.ndarray  # sky above, 0-255
    horizon: np.ndarray  # sky and haze far away, 0-255
    clouds: float  # 0 none - 1 many

    @property
    def on_ground(self) -> np.ndarray:
        """What the ground and everything without a wall's direction gets, [3] float32."""
        return (self.shade + 0.5 * self.sun + 0.6 * self.lamps).astype(np.float32)


def light(kind: str, rng: np.random.Generator) -> Light:
    """One moment of that kind; `rng` chooses weather, sun and lamps."""
    sun_deg, clouds, warmth = rng.uniform(0, 360), rng.uniform(0, 1), rng.uniform(0.8, 1.2)
    if kind == "day":
        sun = np.array([0.40, 0.37, 0.32]) * (1 - 0.8 * clouds)
        shade = np.array([0.76, 0.77, 0.79]) * (1 + 0.2 * clouds)
        zenith = np.array([95, 145, 215]) * (1 - 0.3 * clouds) + 45 * clouds
        return Light(shade, sun, sun_deg, _rgb(0, 0, 0), 0.0, zenith, _rgb(215, 222, 230), clouds)
    if kind == "dusk":
        shade, sun = np.array([0.64, 0.58, 0.60]), np.array([0.34, 0.22, 0.12]) * warmth
        lamps, zenith = np.array([0.12, 0.09, 0.05]), _rgb(100, 110, 155)
        return Light(shade, sun, sun_deg, lamps, 0.12, zenith, _rgb(228, 178, 145), clouds)
    shade, lamps = np.array([0.32, 0.33, 0.42]), np.array([0.38, 0.30, 0.18]) * warmth
    return Light(shade, _rgb(0, 0, 0), 0.0, lamps, 0.30, _rgb(22, 28, 54), _rgb(62, 58, 74), clouds)


def _rgb(red: float, green: float, blue: float) -> np.ndarray:
    return np.array([red, green, blue], float)


def sky(now: Light, rng: np.random.Generator) -> np.ndarray:
    """The sky with clouds and distant trees, [SKY_ROWS, SKY_COLUMNS, 3], lowest row first."""
    rise = np.linspace(0, 1, SKY_ROWS)[:, None, None] ** 0.7
    clear = now.horizon * (1 - rise) + now.zenith * rise
    size = (SKY_COLUMNS, SKY_ROWS)
    coarse = rng.random((7, 22)).astype(np.float32)
    around = Image.fromarray(np.hstack([coarse] * 2))  # so that the last column meets the first
    box = (11, 0, 33, 7)
    puffs = np.asarray(around.resize(size, Image.Resampling.BICUBIC, box))[..., None]
    cover = np.clip((puffs - 1 + 0.8 * now.clouds) * 3, 0, 0.9)
    picture = clear * (1 - cover) + (now.horizon * 0.9 + now.zenith * 0.1) * cover
    trees = np.arange(SKY_ROWS)[:, None] < 3 + 3 * rng.random(SKY_COLUMNS // 4).repeat(4)
    picture[trees] = picture[trees] * 0.35 + np.array([45, 60, 40]) * now.shade * 0.6
    return picture.astype(np.float32)


def sky_row(slope: np.ndarray) -> np.ndarray:
    """Row of the sky's picture for a ray's slope; a quarter of the rows is below 15 degrees."""
    positive = np.maximum(slope, 0)
    return (positive / (positive + np.float32(0.8)) * np.float32(SKY_ROWS - 1)).astype(np.int32)


def lit_windows(now: Light, rng: np.random.Generator) -> np.ndarray:
    """Brightness for each value of the glow channel, [256] float32."""
    brightness = np.where(rng.random(256) < now.lit, rng.uniform(0.35, 0.8, 256), 0)
    brightness[0], brightness[255] = 0, 0.7 * (now.lit > 0)
    return brightness.astype(np.float32)
