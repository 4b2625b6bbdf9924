"""Settings of the heads; each `kind` has its own keys in the section `model.pool`."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from vprlib.pipeline.params import Section

Version = Literal["v1", "v2"]
Size = Annotated[int, Field(ge=1, le=2**16)]
Side = Annotated[int, Field(ge=1, le=2**13)]  # of an image, in pixels
GemPower = Annotated[float, Field(ge=0.01, le=100)]
Rate = Annotated[float, Field(ge=0, lt=1)]


class HeadSettings(Section):
    """What the pipeline has to know of any pool."""

    @property
    def has_token(self) -> bool:
        """Whether it needs the class token beside the map."""
        return False

    def length(self, clusters: int, channels: int) -> int:
        """Dimensions of a descriptor."""
        raise NotImplementedError


class GemFCSettings(HeadSettings):
    """CosPlace and EigenPlaces: GeM and a linear layer."""

    kind: Literal["gem_fc"]
    dimensions: Size = 2048
    gem_p: GemPower = 3.0  # initial value of GeM's learnt exponent

    def length(self, clusters: int, channels: int) -> int:
        return self.dimensions


class ConvAPSettings(HeadSettings):
    """ConvAP: fewer channels, then means over a few cells of the map."""

    kind: Literal["convap"]
    channels: Size = 1024
    rows: Size = 2  # of cells
    columns: Size = 2

    def length(self, clusters: int, channels: int) -> int:
        return self.channels * self.rows * self.columns


class MixVPRSettings(HeadSettings):
    """MixVPR, for maps of one size."""

    kind: Literal["mixvpr"]
    map: tuple[Size, Size] = (20, 20)  # height and width of the feature map
    blocks: Size = 4
    channels: Size = 1024
    rows: Size = 4

    def length(self, clusters: int, channels: int) -> int:
        return self.channels * self.rows


class BoQSettings(HeadSettings):
    """Bag of learnt queries; published with 384 channels for DINOv2 and 512 for ResNet50."""

    kind: Literal["boq"]
    channels: Size = 384  # after the first convolution
    queries: Size = 64  # a block
    blocks: Size = 2
    rows: Size = 32  # which all queries are reduced to

    @property
    def heads(self) -> int:
        """Of attention."""
        return max(1, self.channels // 64)

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.channels % self.heads:
            raise ValueError(f"channels should be a multiple of 64, but is {self.channels}")
        return self

    def length(self, clusters: int, channels: int) -> int:
        return self.channels * self.rows


class SaladSettings(HeadSettings):
    """SALAD; with `linear`, MegaLoc."""

    kind: Literal["salad"]
    clusters: Size = 64
    channels: Size = 128  # of each cluster
    token: Size = 256  # dimensions of the class token's part
    hidden: Size = 512  # channels inside
    dropout: Rate = 0.3  # while it learns
    linear: Size | None = None  # dimensions after one more linear layer; MegaLoc: 8448

    @property
    def has_token(self) -> bool:
        return True

    @property
    def inner(self) -> int:
        """Dimensions before the linear layer."""
        return self.token + self.clusters * self.channels

    def length(self, clusters: int, channels: int) -> int:
        return self.linear or self.inner


class SuperVLADSettings(HeadSettings):
    """SuperVLAD; `kmeans.clusters` counts the ghosts too: 5 for the published 4 + 1."""

    kind: Literal["supervlad"]
    ghosts: Size = 1  # the last words; what is assigned to them is dropped

    def length(self, clusters: int, channels: int) -> int:
        return (clusters - self.ghosts) * channels


class NetVLADLinearSettings(HeadSettings):
    """NetVLAD with one linear layer that all words share."""

    kind: Literal["netvlad_linear"]
    version: Version = "v1"  # of the assignment
    channels: Size = 128  # of each word
    token: Size | None = None  # dimensions of the class token's part; published with 256

    @property
    def has_token(self) -> bool:
        return self.token is not None

    def length(self, clusters: int, channels: int) -> int:
        return clusters * self.channels + (self.token or 0)


Head = (
    GemFCSettings
    | ConvAPSettings
    | MixVPRSettings
    | BoQSettings
    | SaladSettings
    | SuperVLADSettings
    | NetVLADLinearSettings
)
