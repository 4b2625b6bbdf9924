"""Keeps the textures of the houses in sight in one flat array of bounded size."""

from collections import OrderedDict
from functools import lru_cache

import numpy as np

from vprlib.city.facade import LEVELS, facade
from vprlib.city.scenery import car_sides
from vprlib.city.town import Key

SLOTS = 192  # more than any picture shows; at 300 kB each
SLOT_TEXELS = 75_000  # the largest house with all its levels


class Atlas:
    """Textures by key; the longest unused makes room for the next."""

    def __init__(self) -> None:
        self.texels = np.zeros(SLOTS * SLOT_TEXELS, np.uint32)  # four bytes: colour and glow
        self._slots: OrderedDict[Key, tuple[int, np.ndarray]] = OrderedDict()

    def table(self, keys: list[Key], sizes: np.ndarray) -> np.ndarray:
        """Where each texture's levels start, their rows and columns, [N, LEVELS, 3] int32."""
        assert len(keys) <= SLOTS, "one picture shows more houses than the atlas holds"
        for key in keys:
            if key in self._slots:
                self._slots.move_to_end(key)
        found = [self._find(key, size) for key, size in zip(keys, sizes, strict=True)]
        return np.array(found, np.int32).reshape(-1, LEVELS, 3)

    def _find(self, key: Key, size: np.ndarray) -> np.ndarray:
        if key not in self._slots:
            slot = len(self._slots)
            if slot == SLOTS:
                _, (slot, _) = self._slots.popitem(last=False)
            # a car's key is its colour alone
            texture = car_sides()[key[0]] if len(key) == 1 else facade(key, *map(float, size))
            self._slots[key] = (slot, self._store(slot * SLOT_TEXELS, texture))
        return self._slots[key][1]

    def _store(self, start: int, texture: np.ndarray) -> np.ndarray:
        """Writes a texture and its coarser levels; returns (start, rows, columns) of each."""
        table = []
        for level in range(LEVELS):
            texture = _halved(texture) if level else texture
            rows, columns = texture.shape[:2]
            stop = start + rows * columns
            self.texels[start:stop] = np.ascontiguousarray(texture).view(np.uint32).ravel()
            table.append((start, rows, columns))
            start = stop
        return np.array(table)


@lru_cache(maxsize=1)
def shared_atlas() -> Atlas:
    """The atlas of this process."""
    return Atlas()


def _halved(texture: np.ndarray) -> np.ndarray:
    """Mean colour of 2 x 2 texels; the glow is a name and cannot be averaged."""
    wide = texture[:, :, :3].astype(np.uint16)
    tall = wide[0::2] + wide[1::2]
    colour = (tall[:, 0::2] + tall[:, 1::2]) >> 2
    return np.dstack([colour.astype(np.uint8), texture[::2, ::2, 3]])
