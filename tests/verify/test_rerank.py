"""A second look: features on disk, the order by inliers, and what a kill leaves."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from walls import from_elsewhere, wall

from vprlib.evaluate.predictions import Predictions
from vprlib.pipeline.params import UserError
from vprlib.pipeline.resume import Scratch
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.search.request import Neighbors
from vprlib.verify import features, keypoints, rerank
from vprlib.verify.features import Looker
from vprlib.verify.keypoints import opened_keypoints, write_keypoints
from vprlib.verify.rerank import look_again, read_reranked, write_reranked
from vprlib.verify.settings import KeypointSettings, MatchSettings

IMAGES = KeypointSettings(keypoints=300, short_side=(120, 120))
WALLS = range(6)


@pytest.fixture
def sides(source_of):
    """Each query shows the wall of the database image of its number."""
    walls = [wall(seed, 160, 120) for seed in WALLS]
    return source_of(walls, name="db"), source_of([*map(from_elsewhere, walls)], name="queries")


def found_in(order, distances=None):
    rows = np.array(order)
    away = np.arange(rows.size, dtype=np.float32).reshape(rows.shape)
    return Neighbors(rows, away if distances is None else distances)


def looked(sides, found, top, runtime):
    return look_again(sides[1], sides[0], found, IMAGES, MatchSettings(top=top), runtime)


def test_the_right_wall_comes_first_and_the_rest_keeps_its_order(sides, runtime):
    found = found_in([[3, 0, 5, 4], [4, 5, 3, 1], [2, 0, 1, -1]])
    made = looked((sides[0], sides[1].take(np.arange(3))), found, 3, runtime)
    assert made.rows[0, 0] == 0 and made.rows[2, 0] == 2
    assert made.rows[1, 3] == 1  # which is right, but after the first three
    assert (np.take_along_axis(found.rows, made.ranks, axis=1) == made.rows).all()
    assert (np.take_along_axis(found.distances, made.ranks, axis=1) == made.distances).all()
    assert made.inliers[0, 0] > 30 > made.inliers[0, 1]
    assert made.inliers[:, 3].tolist() == [-1, -1, -1]
    assert made.first_inliers().tolist() == [
        made.inliers[query, made.ranks[query].tolist().index(0)] for query in range(3)
    ]


def test_equal_inliers_keep_the_order_of_the_search(sides, runtime, monkeypatch):
    counts = iter([5, 9, 5, 9, 0, 7])
    monkeypatch.setattr(rerank, "count_inliers", lambda *pair: next(counts))
    one_thread = runtime.model_copy(update={"threads": 1, "memory_gib": 1e-6})
    made = looked(
        (sides[0], sides[1].take(np.arange(1))), found_in([[5, 4, 3, 2, 1, 0]]), 5, one_thread
    )
    assert made.rows.tolist() == [[4, 2, 5, 3, 1, 0]]
    assert made.inliers.tolist() == [[9, 9, 5, 5, 0, -1]]


def test_a_query_without_results_has_none_afterwards(sides, runtime):
    made = looked((sides[0], sides[1].take(np.arange(1))), found_in([[-1, -1]]), 2, runtime)
    assert made.rows.tolist() == [[-1, -1]] and made.inliers.tolist() == [[-1, -1]]


def assert_equal(made, other):
    for name, values in vars(made).items():
        np.testing.assert_array_equal(values, vars(other)[name])


def lookers(sides):
    return {
        side: Looker(source, IMAGES) for side, source in zip(("db", "queries"), sides, strict=True)
    }


def written(sides, folder, runtime):
    path = folder / "keypoints.h5"
    write_keypoints(path, lookers(sides), Scratch(folder / "scratch"), runtime)
    assert not (folder / "scratch").exists()
    return path


def test_features_on_disk_are_those_of_the_pixels(sides, runtime, tmp_path, monkeypatch):
    monkeypatch.setattr(keypoints, "IMAGES_A_PART", 4)
    path = written(sides, tmp_path, runtime)
    indices = {side: look.source.index for side, look in lookers(sides).items()}
    with opened_keypoints(path, indices) as stored:
        for side, look in lookers(sides).items():
            for row in WALLS:
                for ours, theirs in zip(stored[side](row), look(row), strict=True):
                    assert ours.dtype == theirs.dtype and (ours == theirs).all()
        most = max(side.most for side in stored.values())
        assert 50 < most <= 300
        found = found_in([np.roll(WALLS, query) for query in WALLS])
        pair = stored["queries"], stored["db"]
        by_file = rerank.rerank(*pair, found, MatchSettings(top=4), 2**20, runtime)
    by_pixels = looked(sides, found, 4, runtime)
    assert_equal(by_file, by_pixels)


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(sides, runtime, tmp_path, monkeypatch):
    monkeypatch.setattr(keypoints, "IMAGES_A_PART", 2)
    whole = written(sides, tmp_path / "whole", runtime).read_bytes()
    seen, real = [], features.sift

    def dies(pixels, count):
        seen.append(pixels)
        if len(seen) == 8:
            raise KeyboardInterrupt
        return real(pixels, count)

    monkeypatch.setattr(features, "sift", dies)
    one = runtime.model_copy(update={"threads": 1})
    with pytest.raises(KeyboardInterrupt):
        written(sides, tmp_path / "killed", one)
    assert not (tmp_path / "killed/keypoints.h5").exists()
    kept = list((tmp_path / "killed/scratch").iterdir())
    assert kept
    many = RuntimeSettings(threads=3)
    seen[:] = [None] * 8
    assert written(sides, tmp_path / "killed", many).read_bytes() == whole
    assert len(seen) - 8 == 2 * len(WALLS) - 2 * len(kept)


def test_an_image_that_is_back_after_a_kill_has_its_keypoints(
    sides, runtime, tmp_path, monkeypatch
):
    monkeypatch.setattr(keypoints, "IMAGES_A_PART", 2)
    whole = written(sides, tmp_path / "whole", runtime).read_bytes()
    lost, content = sides[0].folder / "000.jpg", (sides[0].folder / "000.jpg").read_bytes()
    lost.write_bytes(b"")
    patient = {side: replace(look, unreadable="leave_out") for side, look in lookers(sides).items()}
    scratch = Scratch(tmp_path / "scratch")

    def dies(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(keypoints, "_join", dies)
        write_keypoints(tmp_path / "keypoints.h5", patient, scratch, runtime)
    lost.write_bytes(content)
    write_keypoints(tmp_path / "keypoints.h5", patient, scratch, runtime)
    assert (tmp_path / "keypoints.h5").read_bytes() == whole


def test_any_number_of_threads_gives_the_same_bytes(sides, tmp_path):
    found = found_in([np.roll(WALLS, query) for query in WALLS])
    files = set()
    for threads in (1, 1, 4):
        runtime = RuntimeSettings(threads=threads)
        path = tmp_path / f"{len(files)}.h5"
        write_reranked(path, looked(sides, found, 4, runtime), {"set": "walls"})
        files.add(path.read_bytes())
    assert len(files) == 1


def test_keypoints_of_other_images_are_refused(sides, runtime, tmp_path):
    path = written(sides, tmp_path, runtime)
    indices = {side: look.source.index for side, look in lookers(sides).items()}
    other = {**indices, "db": replace(indices["db"], digests=indices["db"].digests + 1)}
    with pytest.raises(UserError, match=r"holds keypoints of other images than the index of db"):
        opened_keypoints(path, other).__enter__()
    for starts in ([0, 1], [1, *range(1, 7)], [0, 9, 3, 9, 9, 9, 10**6]):
        with h5py.File(path, "r+") as file:
            del file["db/starts"]
            file["db/starts"] = np.array(starts)
        with pytest.raises(UserError, match=r"is damaged, .*'db/starts' does not say where"):
            opened_keypoints(path, indices).__enter__()


def test_points_that_lie_in_no_image_are_refused(sides, runtime, tmp_path):
    path = written(sides, tmp_path, runtime)
    indices = {side: look.source.index for side, look in lookers(sides).items()}
    for value in (np.nan, -1.0, 1e30):
        with h5py.File(path, "r+") as file:
            file["db/points"][0, 1] = value
        with opened_keypoints(path, indices) as stored:
            assert len(stored["db"](1).points)
            with pytest.raises(UserError, match="it has points that lie in no image"):
                stored["db"](0)


def test_an_order_of_other_predictions_is_refused(sides, runtime, tmp_path):
    found = found_in([[3, 0, 5], [4, 1, 2]])
    made = looked((sides[0], sides[1].take(np.arange(2))), found, 3, runtime)
    before = Predictions(found.rows, found.distances, found.rows > 9, None, None)
    path = Path(tmp_path / "reranked.h5")
    write_reranked(path, made, {})
    same = read_reranked(path, before)
    assert_equal(same, made)
    with pytest.raises(UserError, match="its rows are not those that were predicted"):
        read_reranked(path, replace(before, rows=found.rows[::-1]))
    with pytest.raises(UserError, match="'ranks' is no order of what was predicted"):
        read_reranked(path, replace(before, rows=found.rows[:, :2]))
    write_reranked(path, replace(made, inliers=made.inliers[:, ::-1]), {})
    with pytest.raises(UserError, match="its rows are not in the order of their inliers"):
        read_reranked(path, before)
    write_reranked(path, replace(made, ranks=np.zeros_like(made.ranks)), {})
    with pytest.raises(UserError, match="'ranks' is no order of what was predicted"):
        read_reranked(path, before)
