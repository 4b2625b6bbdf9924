"""A network split into its frozen and its learning layers; the output of the former is cached."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from vprlib.images.batches import ImageSource, images_a_batch
from vprlib.model.backbones import fingerprint, parts, statistics, trainable_children
from vprlib.model.describe import network_output
from vprlib.model.model import PlaceModel
from vprlib.model.precision import compute_in, resolve_precision
from vprlib.model.settings import Precision, StoredPrecision
from vprlib.pipeline.arrays import places_by
from vprlib.pipeline.cache import Cache, digest, sources
from vprlib.pipeline.params import UserError
from vprlib.train.augmentation import UNCHANGED, Change, changed
from vprlib.train.cache import CacheFile, CacheSpec

# numpy has no bfloat16: its bits are kept
_STORED = {"float32": np.float32, "float16": np.float16, "bfloat16": np.uint16}


@dataclass(frozen=True)
class LoadedImage:
    """An image for the network: its pixels, or its feature map from the frozen layers."""

    values: np.ndarray  # uint8 [H, W, 3], or [h, w, D]
    is_map: bool = False
    keep: Callable[[np.ndarray], None] | None = None  # caches the map once it is computed


class SplitNetwork:
    """The network cut before the first layer that learns; `frozen` is None if all layers learn."""

    def __init__(
        self, model: PlaceModel, first_layer: str, precision: Precision, stored: StoredPrecision
    ) -> None:
        a = model.architecture
        learning = trainable_children(a.backbone, a.cut, first_layer)
        before, after = parts(model.backbone, learning)
        self.device = model.device
        self.precision = resolve_precision(precision, self.device)
        self.model, self.stored = model, stored
        self.frozen = nn.Sequential(model.normalise, before).eval() if len(before) else None
        self.learning: nn.Module = _Learning(after, model) if len(before) else model
        self._computing = compute_in(self.device, self.precision)
        self._shapes: dict[tuple[int, int], tuple[int, ...]] = {}

    def describe(self, images: Sequence[LoadedImage]) -> Tensor:
        """Descriptors [B, dim] of images that may differ in size, in their order."""
        with self._computing:
            inputs = self._inputs(images)
            groups = places_by(values.shape for values in inputs)
            found = [
                network_output(self.learning, torch.stack([inputs[place] for place in group]))
                for group in groups
            ]
        places = torch.tensor([place for group in groups for place in group])
        return torch.cat(found)[places.argsort().to(self.device)]

    def map_shape(self, width: int, height: int) -> tuple[int, ...]:
        """Shape of the map [h, w, D] that the frozen layers give for an image; computes nothing."""
        if (width, height) not in self._shapes:
            image = torch.empty(2, height, width, 3, dtype=torch.uint8, device="meta")
            with torch.no_grad():
                found = network_output(self._weightless, image).shape
            self._shapes[width, height] = (*found[2:], found[1])
        return self._shapes[width, height]

    @cached_property
    def _weightless(self) -> nn.Module:
        """The frozen layers on the meta device, where nothing is computed."""
        assert self.frozen is not None
        return copy.deepcopy(self.frozen).to("meta")

    def _inputs(self, images: Sequence[LoadedImage]) -> list[Tensor]:
        """Inputs of the learning layers, on the device; maps are rounded as in the cache."""
        values = [torch.from_numpy(np.array(image.values)) for image in images]
        if self.frozen is None:
            return [v.to(self.device) for v in values]
        made = [place for place, image in enumerate(images) if not image.is_map]
        for group in places_by(values[place].shape for place in made):
            height, width, _ = values[made[group[0]]].shape
            size = images_a_batch(width, height)
            for start in range(0, len(group), size):
                part = [made[number] for number in group[start : start + size]]
                maps = self._frozen_maps(torch.stack([values[place] for place in part]))
                for place, found in zip(part, maps, strict=True):
                    values[place] = found
                    keep = images[place].keep
                    if keep is not None:
                        keep(found.cpu().numpy())
        placed = (v.to(self.device) for v in values)
        is_bits = self.stored == "bfloat16"
        return [(v.view(torch.bfloat16) if is_bits else v).float() for v in placed]

    @torch.no_grad()
    def _frozen_maps(self, pixels: Tensor) -> Tensor:
        """Maps of the frozen layers in the stored precision, [B, h, w, D]."""
        assert self.frozen is not None
        maps = network_output(self.frozen, pixels.to(self.device)).permute(0, 2, 3, 1)
        if self.stored == "bfloat16":
            return maps.bfloat16().contiguous().view(torch.uint16)
        maps = maps.to(getattr(torch, self.stored))
        if self.stored == "float16" and not torch.isfinite(maps).all():
            raise UserError(
                "a feature before train.first_layer is too large for float16: set"
                " train.stored to bfloat16 or float32."
            )
        return maps.contiguous()


class _Learning(nn.Module):
    """Maps [B, h, w, D] of the frozen layers to descriptors."""

    def __init__(self, backbone: nn.Module, model: PlaceModel) -> None:
        super().__init__()
        self.backbone, self.model = backbone, model

    def forward(self, maps: Tensor) -> Tensor:
        return self.model.described(self.backbone(maps.permute(0, 3, 1, 2)))


class CachedSource:
    """The images of one source as the network takes them, from the cache if possible."""

    def __init__(self, source: ImageSource, network: SplitNetwork, cache: Cache) -> None:
        self.source, self.network, self.sizes = source, network, source.sizes()
        self.spec = _cache_spec(source, network, self.sizes)
        self.file: CacheFile | None = (
            CacheFile.opened(cache, self.spec) if len(self.sizes) else None
        )

    def load(self, row: int, change: Change = UNCHANGED) -> LoadedImage:
        """Several threads may call it."""
        if self.network.frozen is None:
            return LoadedImage(changed(self._pixels(row), change))
        file = self.file if change == UNCHANGED else None
        found = None if file is None else file.get(row)
        if found is not None:
            return LoadedImage(found, is_map=True)
        keep = None if file is None else partial(file.put, row)
        return LoadedImage(changed(self.source.pixels(row), change), keep=keep)

    def largest(self) -> int:
        """Bytes of the largest image, decoded or as a map."""
        pixels = 3 * int(self.sizes.prod(axis=1).max(initial=1))
        return max(pixels, int(self.spec.sizes.max(initial=1)))

    def _pixels(self, row: int) -> np.ndarray:
        found = self.file.get(row) if self.file is not None else None
        if found is None:
            found = self.source.pixels(row)
            if self.file is not None:
                self.file.put(row, found)
        return found


def _cache_spec(source: ImageSource, network: SplitNetwork, sizes: np.ndarray) -> CacheSpec:
    index = source.index
    images = [index.digests, index.byte_sizes, sizes, source.settings.model_dump()]
    if network.frozen is None:
        shapes = np.array([(height, width, 3) for width, height in sizes], int).reshape(-1, 3)
        key = digest("pixels", *images, *sources("images"))
        what = f"{len(sizes)} decoded images of {index.set_name}"
        return CacheSpec(what, key, shapes, np.dtype("u1"))
    shapes = np.array([network.map_shape(*size) for size in sizes.tolist()], int).reshape(-1, 3)
    frozen = network.frozen[1]
    a = network.model.architecture
    key = digest(
        "maps",
        *images,
        *sources("images", "model"),
        Path(__file__),
        [name for name, _ in frozen.named_children()],
        [a.backbone, a.cut, a.mean, a.std, a.size, a.resample],
        fingerprint(frozen),
        *(values.cpu().numpy() for values in statistics(frozen).values()),
        [network.precision, network.stored, network.device.type],
        [torch.__version__, version("torchvision"), torch.backends.cpu.get_cpu_capability()],
    )
    what = f"maps of {len(sizes)} images of {index.set_name} ({network.stored})"
    return CacheSpec(what, key, shapes, np.dtype(_STORED[network.stored]))
