"""Local features of an image, and how two images are compared by them."""

from dataclasses import dataclass, replace
from types import ModuleType
from typing import NamedTuple

import numpy as np

from vprlib.images.batches import ImageSource
from vprlib.images.decode import ImageSettings
from vprlib.images.index import Unreadable
from vprlib.pipeline.params import UserError
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.verify.settings import KeypointSettings

DIMENSIONS = 128
CONTRAST = 0.01  # of a keypoint; a quarter of OpenCV's, as dull places have few
FEWEST = 8  # matches that say anything: any seven fit a fundamental matrix
DISTANCE_PX, CONFIDENCE, ROUNDS = 1.5, 0.999, 2000  # of an inlier to its line; of the estimate
BYTES_PER_PIXEL = 240  # of SIFT's pyramid, which starts at twice the size
BYTES_PER_PAIR = 16  # of keypoints that are compared


class Features(NamedTuple):
    points: np.ndarray  # float32 [N, 2], in pixels
    descriptors: np.ndarray  # uint8 [N, 128]; SIFT's are whole numbers, so nothing is lost


NOTHING = Features(np.zeros((0, 2), np.float32), np.zeros((0, DIMENSIONS), np.uint8))


def opencv() -> ModuleType:
    """OpenCV, on one thread: pairs are worked on side by side."""
    try:
        import cv2
    except ImportError:
        raise UserError(
            "a second look needs OpenCV, which is not installed: `pip install -e '.[verify]'`."
        ) from None
    cv2.setNumThreads(1)
    return cv2


def machine() -> dict[str, str]:
    """What the rounding of a keypoint depends on besides pixels and code."""
    cv2 = opencv()
    return {"opencv": cv2.__version__, "cpu": cv2.getCPUFeaturesLine()}


def threads(runtime: RuntimeSettings, bytes_each: int) -> int:
    """How many fit the memory budget, but not more than the cores."""
    return max(1, min(runtime.cores, runtime.memory_bytes // max(1, bytes_each)))


@dataclass(frozen=True)
class Looker:
    """Finds the features of the images of a source, at sizes that the network does not change."""

    source: ImageSource
    settings: KeypointSettings
    unreadable: Unreadable = "stop"  # leave_out: such an image has no features

    def _resized(self, source: ImageSource, side: int | None) -> ImageSource:
        settings = ImageSettings(resize=side, exif_rotate=source.settings.exif_rotate)
        return replace(source, settings=settings)

    def _sizes(self, source: ImageSource) -> tuple[np.ndarray, np.ndarray]:
        """Width and height [N, 2] as stored, and the short side [N] at which it is looked at."""
        sizes = self._resized(source, None).sizes()
        return sizes, sizes.min(axis=1).clip(*self.settings.short_side)

    @property
    def bytes_each(self) -> int:
        """Memory that the largest image takes."""
        sizes, sides = self._sizes(self.source)
        areas = sizes.prod(axis=1) * (sides / sizes.min(axis=1)) ** 2
        return int(BYTES_PER_PIXEL * areas.max(initial=0))

    def __call__(self, row: int) -> Features:
        source = self.source.take(np.array([row]))
        _, (side,) = self._sizes(source)
        source = self._resized(source, int(side))
        pixels = (source.pixels if self.unreadable == "stop" else source.pixels_or_problem)(0)
        return NOTHING if isinstance(pixels, str) else sift(pixels, self.settings.keypoints)


def sift(pixels: np.ndarray, keypoints: int) -> Features:
    """The strongest keypoints of an RGB image [H, W, 3]."""
    cv2 = opencv()
    detector = cv2.SIFT_create(nfeatures=keypoints, contrastThreshold=CONTRAST)
    found, descriptors = detector.detectAndCompute(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), None)
    if not found:
        return NOTHING
    points = np.array([point.pt for point in found], np.float32)
    strength = np.array([point.response for point in found])
    angle = np.array([point.angle for point in found])
    # equally strong ones beyond the limit are kept by OpenCV, in an order of its own
    order = np.lexsort((angle, points[:, 1], points[:, 0], -strength))[:keypoints]
    return Features(points[order], descriptors[order].astype(np.uint8))


def root_sift(descriptors: np.ndarray) -> np.ndarray:
    """Unit vectors [N, 128] whose dot product is the Hellinger kernel of SIFT's histograms.

    Arandjelović and Zisserman, Three things everyone should know, CVPR 2012.
    """
    sums = descriptors.sum(axis=1, dtype=np.float32, keepdims=True)
    return np.sqrt(descriptors / np.maximum(sums, 1))


def matches(query: np.ndarray, database: np.ndarray, ratio: float) -> np.ndarray:
    """Pairs [M, 2] of unit vectors that are each other's nearest, and clearly so."""
    if not len(query) or not len(database):
        return np.zeros((0, 2), int)
    alike = query @ database.T
    rows = np.arange(len(query))
    best = alike.argmax(axis=1)
    first = alike[rows, best]
    alike[rows, best] = -1
    second = alike.max(axis=1)
    alike[rows, best] = first
    # squared distances of unit vectors
    clear = np.flatnonzero(2 - 2 * first < ratio**2 * (2 - 2 * second))
    is_mutual = alike[:, best[clear]].argmax(axis=0) == clear
    return np.stack([clear, best[clear]], axis=1)[is_mutual]


def count_inliers(query: Features, database: Features, ratio: float) -> int:
    """Matches that fit one fundamental matrix, as those of one scene do."""
    pairs = matches(root_sift(query.descriptors), root_sift(database.descriptors), ratio)
    if len(pairs) < FEWEST:
        return 0
    cv2 = opencv()
    sides = query.points[pairs[:, 0]], database.points[pairs[:, 1]]
    cv2.setRNGSeed(1)  # of this thread: the result depends on the pair alone
    try:
        _, is_inlier = cv2.findFundamentalMat(
            *sides, cv2.USAC_MAGSAC, DISTANCE_PX, CONFIDENCE, ROUNDS
        )
    except cv2.error:  # such as `!model.empty()`, where all matches lie on a line
        return 0
    return 0 if is_inlier is None else int(is_inlier.sum())
