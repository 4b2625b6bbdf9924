"""Local features: what is found in an image, and how many fit one geometry."""

import builtins

import cv2
import numpy as np
import pytest
from walls import from_elsewhere, wall

from vprlib.pipeline.params import UserError
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.verify import features
from vprlib.verify.features import (
    NOTHING,
    Features,
    Looker,
    count_inliers,
    matches,
    root_sift,
    sift,
    threads,
)
from vprlib.verify.settings import KeypointSettings

RATIO = 0.85


def histograms(seed, rows=30):
    return np.random.default_rng(seed).integers(0, 4, (rows, 128)).astype(np.uint8) ** 3


def test_sift_is_in_whole_numbers_strongest_first_and_no_more_than_wanted():
    pixels = wall(1)
    few, many = sift(pixels, 50), sift(pixels, 4000)
    assert len(few.points) == len(few.descriptors) == 50 < len(many.points)
    assert (few.points.dtype, few.descriptors.dtype) == (np.float32, np.uint8)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    points, plain = cv2.SIFT_create(contrastThreshold=0.01).detectAndCompute(grey, None)
    assert (plain == plain.round()).all() and 0 <= plain.min() <= plain.max() <= 255
    order = sorted(range(len(points)), key=lambda i: -points[i].response)[:50]
    assert {points[i].pt for i in order} == {tuple(at) for at in few.points.tolist()}
    by_place = {(points[i].pt, points[i].angle): plain[i] for i in order}
    for values in few.descriptors:
        assert any((values == known).all() for known in by_place.values())


def test_a_blank_image_has_no_keypoint():
    assert sift(np.full((64, 64, 3), 90, np.uint8), 100).points.shape == (0, 2)


def test_rootsift_equals_the_hellinger_kernel():
    one, other = histograms(1), histograms(2)
    found = root_sift(one) @ root_sift(other).T
    for i, j in np.ndindex(*found.shape):
        p, q = (values / values.sum() for values in (one[i].astype(float), other[j].astype(float)))
        assert found[i, j] == pytest.approx(np.sqrt(p * q).sum(), abs=1e-5)
    assert np.linalg.norm(root_sift(one), axis=1) == pytest.approx(1)
    assert not root_sift(np.zeros((1, 128), np.uint8)).any()


def test_matches_equal_the_double_loop():
    database, others = root_sift(histograms(4, 40)), root_sift(histograms(3))
    share = np.linspace(0, 1, len(others), dtype=np.float32)[:, None]
    query = (1 - share) * database[: len(others)] + share * others  # from the same to strangers
    query /= np.linalg.norm(query, axis=1, keepdims=True)
    wanted, ratios = [], []
    for i, row in enumerate(query):
        away = [np.linalg.norm(row - other) for other in database]
        nearest, second = np.argsort(away)[:2]
        back = [np.linalg.norm(database[nearest] - other) for other in query]
        ratios.append(away[nearest] / away[second])
        if ratios[-1] < RATIO and np.argmin(back) == i:
            wanted.append([i, nearest])
    assert any(RATIO**2 < r < RATIO for r in ratios)
    assert any(RATIO < r < RATIO**0.5 for r in ratios)
    assert matches(query, database, RATIO).tolist() == wanted


def test_only_the_nearest_of_two_that_want_the_same_is_matched():
    point = root_sift(histograms(6, 3))
    near = point[:1] + 0.05 * np.eye(1, 128, dtype=np.float32)
    asked = np.concatenate([near / np.linalg.norm(near), point[:1]])
    assert matches(asked, point, RATIO).tolist() == [[1, 0]]


def test_nothing_matches_nothing():
    assert matches(root_sift(NOTHING.descriptors), root_sift(histograms(1)), RATIO).shape == (0, 2)
    assert count_inliers(NOTHING, sift(wall(1), 500), RATIO) == 0


def test_the_same_wall_has_many_inliers_and_another_one_few():
    asked = sift(wall(1), 500)
    same = count_inliers(asked, sift(from_elsewhere(wall(1)), 500), RATIO)
    others = [
        count_inliers(asked, sift(from_elsewhere(wall(seed)), 500), RATIO) for seed in (2, 3, 4)
    ]
    assert same > 100 and max(others) < 15


def test_fewer_than_eight_matches_are_no_inliers(monkeypatch):
    asked = sift(wall(1), 500)
    monkeypatch.setattr(cv2, "findFundamentalMat", lambda points, *_: (None, np.ones(len(points))))
    for count, wanted in ((7, 0), (8, 8)):
        few = Features(asked.points[:count], asked.descriptors[:count])
        assert count_inliers(few, asked, 1.0) == wanted


def test_what_opencv_cannot_estimate_has_no_inliers(monkeypatch):
    def fails(*arguments):
        raise cv2.error("!model.empty()")

    asked = sift(wall(1), 500)
    assert count_inliers(asked, asked, RATIO) > 100
    monkeypatch.setattr(cv2, "findFundamentalMat", fails)
    assert count_inliers(asked, asked, RATIO) == 0
    monkeypatch.setattr(cv2, "findFundamentalMat", lambda *arguments: (None, None))
    assert count_inliers(asked, asked, RATIO) == 0


def test_inliers_depend_on_the_pair_alone():
    asked, other = sift(wall(1), 500), sift(from_elsewhere(wall(1)), 500)
    found = set()
    for seed in range(4):
        cv2.setRNGSeed(seed)
        cv2.randu(np.zeros(5), 0, 1)
        found.add(count_inliers(asked, other, RATIO))
    assert len(found) == 1


@pytest.mark.parametrize(
    ("size", "side", "seen"),
    [((160, 120), (240, 960), 240), ((640, 480), (240, 960), 480), ((640, 480), (96, 100), 100)],
)
def test_small_images_are_enlarged_and_large_ones_shrunk(source_of, size, side, seen):
    source = source_of([wall(1, *size)])
    look = Looker(source, KeypointSettings(short_side=side, keypoints=400))
    scale = seen / size[1]
    assert look(0).points.max(axis=0) == pytest.approx(np.array(size) * scale, rel=0.1)
    # whatever the network sees
    resized = Looker(source_of([wall(1, *size)], name="again"), look.settings)
    small = resized.source.settings.model_copy(update={"resize": 32})
    resized = Looker(type(source)(source.index, source.folder, small), look.settings)
    assert (resized(0).descriptors == look(0).descriptors).all()


def test_an_unreadable_image_is_named_or_has_no_keypoint(source_of):
    source = source_of([wall(1)])
    (source.folder / "000.jpg").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"000\.jpg is not an image that can be read since"):
        Looker(source, KeypointSettings())(0)
    assert not len(Looker(source, KeypointSettings(), "leave_out")(0).points)


def test_large_images_are_looked_at_by_fewer_threads(source_of):
    runtime = RuntimeSettings(threads=8, memory_gib=0.1)
    assert threads(runtime, 2**20) == 8 and threads(runtime, 2**26) == 1
    small, large = wall(1, 160, 120), wall(1, 1280, 960)
    settings = KeypointSettings()
    each = [240 * 320 * 240, 240 * 1280 * 960]
    assert Looker(source_of([small]), settings).bytes_each == each[0]
    assert Looker(source_of([small, large], name="large"), settings).bytes_each == each[1]
    assert [threads(runtime, size) for size in each] == [5, 1]


def test_without_opencv_one_sentence_says_how_to_install_it(monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **keywords):
        if name == "cv2":
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"not installed: `pip install -e '\.\[verify\]'`\.$"):
        features.opencv()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"short_side": (300, 200)}, "first should be at most the last, but they are"),
        ({"short_side": (240, 9000)}, "less than or equal to 8192"),
        ({"keypoints": 10**6}, "less than or equal to 4096"),
        ({"keypoints": True}, "valid integer"),
    ],
)
def test_settings_that_cannot_be_are_refused(values, said):
    with pytest.raises(ValueError, match=said):
        KeypointSettings(**values)
