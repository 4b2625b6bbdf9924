"""Settings of the built-in city: sizes, lenses, light, and how queries differ."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from vprlib.city.town import PITCH
from vprlib.pipeline.params import Metres, Section, Seed

Degrees = Annotated[float, Field(ge=-360, le=360)]
Weight = Annotated[float, Field(ge=0, le=1e6)]


class QueryParams(Section):
    """How a query differs from the panorama that it is near."""

    per_location: int = Field(4, ge=1, le=100)  # photographs at one spot, headings all around
    offset_m: tuple[Metres, Metres] = (1.5, 5.0)  # from the panorama: over 1 m, at most 10 m
    heading_jitter_deg: float = Field(30.0, ge=0, le=360)  # around evenly spread headings
    fov_deg: tuple[Degrees, Degrees] = (62.0, 76.0)  # other lenses than the panorama's
    tilt_deg: tuple[Degrees, Degrees] = (0.0, 9.0)  # held by hand
    roll_deg: float = Field(2.5, ge=0, le=30)  # either way
    passers: float = Field(0.6, ge=0, le=100)  # mean number of people and cars in the way
    gain: float = Field(0.1, ge=0, lt=1)  # exposure and white balance, either way
    blur_px: float = Field(0.6, ge=0, le=100)  # widest Gaussian blur
    noise: float = Field(3.0, ge=0, le=255)  # grey levels by day; twice that by night

    @model_validator(mode="after")
    def _check(self) -> Self:
        low, high = self.offset_m
        if not 1.0 < low < high <= 10.0:
            raise ValueError(
                f"offset_m should be two distances over 1 and up to 10, but is {low} and {high}"
            )
        for name in ("fov_deg", "tilt_deg"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} should run upwards, but is {low} to {high}")
        if not 20 <= self.fov_deg[0] <= self.fov_deg[1] <= 100:
            raise ValueError(f"fov_deg should lie within 20 and 100, but is {self.fov_deg}")
        if not -20 <= self.tilt_deg[0] <= self.tilt_deg[1] <= 20:
            raise ValueError(f"tilt_deg should lie within -20 and 20, but is {self.tilt_deg}")
        return self


class CityParams(Section):
    """What all parts of the city share."""

    seed: Seed = 7  # another seed, another city
    width: int = Field(160, ge=16, le=2**12)  # pixels of every image
    height: int = Field(120, ge=16, le=2**12)
    quality: int = Field(90, ge=1, le=100)  # of the JPEG files
    headings: int = Field(8, ge=1, le=100)  # tiles of a panorama, all from one position
    spacing_m: float = Field(9.0, ge=2, le=PITCH)  # between panoramas along a street
    fov_deg: float = Field(70.0, ge=20, le=100)  # of a tile; over 360 / headings they overlap
    tilt_deg: float = Field(4.0, ge=-20, le=20)  # of a tile, upwards
    query: QueryParams = QueryParams()  # changes no database image


class LightWeights(Section):
    """How often a query is taken by each light; only the proportions count."""

    day: Weight
    dusk: Weight
    night: Weight

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.day + self.dusk + self.night > 0:
            raise ValueError("at least one of day, dusk and night should be above 0")
        return self


class PartParams(Section):
    """How large one part of the city is."""

    places: int = Field(ge=1, le=10**6)  # positions of panoramas
    queries: int = Field(ge=1, le=10**6)  # query images; a larger number keeps the first ones
    query_light: LightWeights  # database images are always taken by day
