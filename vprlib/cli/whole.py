"""Checks what params.yaml would hold, as the stages will, before it is written."""

from typing import Annotated

from vprlib.compress.settings import Step, check_variants
from vprlib.descriptors.codes import CodeSettings, check_codes
from vprlib.evaluate.recall import Protocol
from vprlib.extract.extraction import Stored
from vprlib.formats.photos import PhotoSettings
from vprlib.formats.specification import Layout
from vprlib.images.decode import ImageSettings
from vprlib.images.index import Unreadable
from vprlib.interop.settings import NetworkSettings
from vprlib.model.settings import AnyPool, Precision
from vprlib.model.weights import BackboneSettings
from vprlib.pipeline.params import At, Count, StageParams
from vprlib.pipeline.switches import SetFiles, Switches, check, check_photos, check_teacher
from vprlib.places.projection import Zone
from vprlib.places.truth import RadiusOrOwn
from vprlib.search.faiss_factory import check_indexes
from vprlib.search.neighbors import NeighborSettings
from vprlib.train.sample import SampleSettings
from vprlib.train.settings import Training
from vprlib.train.words import KmeansSettings


class Whole(Switches):
    """The sections that presets may change."""

    datasets: Annotated[dict[str, SetFiles], At("datasets")]
    photos: Annotated[dict[str, PhotoSettings], At("photos")]
    networks: Annotated[dict[str, NetworkSettings], At("networks")]
    variant_defs: Annotated[dict[str, list[Step]], At("variant_defs")]
    code_defs: Annotated[dict[str, CodeSettings], At("code_defs")]
    descriptors: Annotated[Count, At("whitening.descriptors")]
    dimensions: Annotated[Count, At("whitening.dimensions")]
    backbone: Annotated[BackboneSettings, At("model.backbone")]
    pool: Annotated[AnyPool, At("model.pool")]
    sample: Annotated[SampleSettings, At("sample")]
    kmeans: Annotated[KmeansSettings, At("kmeans")]
    train: Annotated[Training, At("train")]
    search: Annotated[NeighborSettings, At("search")]
    precision: Annotated[Precision, At("extraction.precision")]
    stored: Annotated[Stored, At("extraction.stored")]
    unreadable: Annotated[Unreadable, At("extraction.unreadable")]


class OneSet(StageParams):
    """The rest of an entry of `datasets`."""

    layout: Annotated[Layout, At("datasets.{dataset}.layout")]
    images: Annotated[ImageSettings, At("datasets.{dataset}.images")]
    radius_m: Annotated[RadiusOrOwn, At("datasets.{dataset}.radius_m")]
    protocol: Annotated[Protocol, At("datasets.{dataset}.protocol")]
    utm_zone: Annotated[Zone, At("datasets.{dataset}.utm_zone")]


def check_whole(tree: dict[str, object]) -> None:
    p = Whole.of(tree)
    for name in p.datasets:
        OneSet.of(tree, dataset=name)
    check(p, p.datasets, p.code_defs)
    check_teacher(p, p.train.teacher)
    check_photos(p.photos, {name: (d.folder, d.list) for name, d in p.datasets.items()})
    check_variants(p.variants, p.derived, p.variant_defs, p.given)
    check_codes(p.codes, p.code_defs, p.dimensions, p.descriptors)
    check_indexes({name: p.code_defs[name] for name in p.codes})
