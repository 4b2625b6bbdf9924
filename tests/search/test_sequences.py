"""Sequences: equal to the sum frame by frame, within their borders, and better than one frame."""

import h5py
import numpy as np
import pytest
from vectors import unit

from vprlib.descriptors.quantisers import Coded, Quantiser
from vprlib.pipeline.params import UserError
from vprlib.search import sequences
from vprlib.search.hamming import search_parts
from vprlib.search.request import Neighbors, SearchRequest, collect
from vprlib.search.sequences import InSequences, SequenceSettings, along_folders, by_folder

MEMORY = 2**28
FEW_STEPS = 5  # speeds, since the twin is slow
NOTHING = np.zeros(0, np.int64)


def one(count: int) -> np.ndarray:
    return np.zeros(count)


def search(
    queries, database, count=5, frames=5, speeds=(1, 1), labels=None, failed=NOTHING, **options
) -> Neighbors:
    labels = labels or (one(queries.shape[0]), one(database.shape[0]))
    settings = SequenceSettings(frames=frames, speeds=speeds)
    given = {"memory_bytes": MEMORY, "threads": 1} | options
    request = SearchRequest(queries, database, count, **given)
    return collect(InSequences(settings, *labels, failed), request)


def slowly(queries, database, frames, speeds, labels, failed, excluded) -> np.ndarray:
    """The definition, frame by frame: distances [Q, N]."""
    found = np.full((len(queries), len(database)), np.inf)
    for i in range(len(queries)):
        for j in range(len(database)):
            if j in excluded:
                continue
            for speed in np.linspace(*speeds, FEW_STEPS):
                squared = []
                for k in range(-(frames // 2), frames // 2 + 1):
                    a, b = i + k, j + round(k * speed)
                    if not (0 <= a < len(queries) and 0 <= b < len(database)):
                        continue
                    if len({*labels[0][min(a, i) : max(a, i) + 1]}) > 1 or a in failed:
                        continue
                    if len({*labels[1][min(b, j) : max(b, j) + 1]}) > 1 or b in excluded:
                        continue
                    apart = queries[a].astype(np.float64) - database[b]
                    squared.append(apart @ apart)
                if squared:
                    found[i, j] = min(found[i, j], np.sqrt(np.mean(squared)))
    return found


CASES = [(3, (1, 1)), (5, (0.8, 1.25)), (7, (0.4, 2.2)), (9, (1.9, 2.1))]


@pytest.mark.parametrize(("frames", "speeds"), CASES)
@pytest.mark.parametrize("rows", [8, 1024])
@pytest.mark.parametrize("memory", [MEMORY, 1])
def test_sequences_are_found_as_frame_by_frame(monkeypatch, frames, speeds, rows, memory) -> None:
    monkeypatch.setattr(sequences, "ROWS", rows)
    monkeypatch.setattr(sequences, "STEPS", FEW_STEPS)
    queries, database = unit(66, 6, 1), unit(20, 6, 2)
    labels = np.repeat([0, 1, 0], [30, 1, 35]), np.repeat(["a", "b"], [12, 8])
    failed, excluded = np.array([3, 50]), np.array([7, 11, 15])
    found = search(
        *(queries, database, 20, frames, speeds, labels, failed),
        memory_bytes=memory,
        excluded=excluded,
    )
    slow = slowly(queries, database, frames, speeds, labels, failed, excluded)
    np.testing.assert_allclose(found.distances, np.sort(slow, axis=1), atol=1e-6)
    np.testing.assert_array_equal(found.rows[:, :17], np.argsort(slow, kind="stable")[:, :17])
    assert (found.rows[:, 17:] == -1).all()


def test_one_frame_gives_the_ordinary_search_byte_for_byte() -> None:
    queries, database = unit(30, 8, 1), unit(2000, 8, 2)
    among = np.arange(0, 2000, 3)
    ordinary = collect(search_parts, SearchRequest(queries, database, 9, MEMORY, 1, None, among))
    found = search(queries, database, 9, frames=1, among=among)
    assert found.rows.tobytes() == ordinary.rows.tobytes()
    assert found.distances.tobytes() == ordinary.distances.tobytes()


def test_three_frames_by_hand() -> None:
    queries = np.eye(4, dtype=np.float32)[[0, 1, 2]]
    database = np.eye(4, dtype=np.float32)[[3, 1, 3, 0, 1, 2]]
    found = search(queries, database, 2, frames=3)
    # the middle query: all three frames agree at row 4, one of three at row 1
    assert found.rows[1].tolist() == [4, 1]
    np.testing.assert_allclose(found.distances[1] ** 2, [0, 4 / 3], atol=1e-6)
    # the first query has no frame before it; beside row 3 both agree
    assert found.rows[0, 0] == 3 and found.distances[0, 0] == 0


def test_no_sequence_runs_over_a_border() -> None:
    drive = unit(40, 16, 1)
    together, apart = one(40), np.repeat([0, 1], 20)
    moved = np.concatenate([drive[:20], unit(20, 16, 9)])
    whole = search(moved, drive, 1, labels=(together, together)).distances[:, 0]
    within = search(moved, drive, 1, labels=(apart, apart)).distances[:, 0]
    assert (within[:20] < 1e-6).all()  # frames of the other drive do not count
    assert (whole[18:20] > 0.1).all()


def test_equal_sequences_come_by_row() -> None:
    drive = unit(700, 512)  # in smaller products nothing is rounded otherwise
    labels = one(700), np.repeat([0, 1, 2], 700)
    found = search(drive, np.concatenate([drive, drive, drive]), 3, labels=labels)
    assert (found.rows == np.arange(700)[:, None] + [0, 700, 1400]).all()
    assert not found.distances.any()


def test_sequences_tell_apart_places_that_look_alike() -> None:
    """Every place looks like another, and only the way there differs."""
    generator = np.random.default_rng(4)
    looks = unit(12, 32)[generator.integers(0, 12, 200)]
    noise = (0.1 * generator.normal(size=(200, 32))).astype(np.float32)
    single, five = (search(looks + noise, looks, 1, frames=n).rows[:, 0] for n in (1, 5))
    right = np.arange(200)
    assert np.mean(single == right) < 0.3 and np.mean(five == right) > 0.95


def test_another_speed_is_followed() -> None:
    drive = unit(120, 32)
    queries = drive[1::2]  # twice as fast
    right = np.arange(1, 120, 2)
    at_one = search(queries, drive, 1, frames=9).distances[5:-5, 0]
    found = search(queries, drive, 1, frames=9, speeds=(1.5, 2.5))
    assert (found.rows[:, 0] == right).all()
    assert (found.distances[5:-5, 0] < 1e-6).all() and (at_one > 0.5).all()


def test_the_way_may_lead_through_rows_that_may_not_be_found() -> None:
    queries, database = unit(20, 8, 1), unit(30, 8, 2)
    among = np.arange(4, 30, 5)
    full, found = search(queries, database, 30), search(queries, database, 6, among=among)
    for every, some in zip(full.rows.tolist(), found.rows.tolist(), strict=True):
        assert some == [row for row in every if row in among]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_descriptors_are_read_from_disk_and_codes_are_decoded(tmp_path, dtype) -> None:
    queries, database = unit(30, 16, 1), unit(50, 16, 2)
    with h5py.File(tmp_path / "d.h5", "w") as file:
        stored = file.create_dataset("d", data=database.astype(dtype))
        found = search(queries, stored)
        assert found.rows.tobytes() == search(queries, database.astype(dtype)).rows.tobytes()
        bits = Quantiser("binary", 16)
        coded = [Coded(bits.encode(side), bits) for side in (queries, database)]
        decoded = [side[:] for side in coded]
        assert search(*coded).rows.tobytes() == search(*decoded).rows.tobytes()


def test_no_more_is_held_than_a_block() -> None:
    class Watched(np.ndarray):
        largest = 0

        def __getitem__(self, rows: slice) -> np.ndarray:
            Watched.largest = max(Watched.largest, rows.stop - rows.start)
            return np.asarray(self)[rows]

    sides = unit(3000, 4, 1), unit(5000, 4, 2)
    queries, database = (side.astype(np.float16).view(Watched) for side in sides)
    small = search(queries, database, 3, memory_bytes=2**24)
    assert Watched.largest <= sequences.ROWS + 4
    whole = search(queries, database, 3, memory_bytes=2**31)
    assert small.rows.tobytes() == whole.rows.tobytes()
    assert small.distances.tobytes() == whole.distances.tobytes()


@pytest.mark.parametrize("sides", [(0, 5), (5, 0), (1, 1)])
def test_small_sets_are_searched(sides) -> None:
    found = search(unit(sides[0], 4), unit(sides[1], 4))
    assert found.rows.shape == (sides[0], min(5, sides[1]))


def test_what_is_not_finite_is_one_sentence() -> None:
    broken = unit(10, 4)
    broken[3] = np.nan
    with pytest.raises(UserError, match="descriptors are not finite"):
        search(unit(5, 4), broken)


def test_images_that_all_lie_in_folders_of_their_own_are_one_sentence() -> None:
    settings, drive = SequenceSettings(frames=3), ["a/1.jpg", "a/2.jpg"]
    with pytest.raises(UserError, match=r"3 frames need images .* no two database images in a row"):
        along_folders(settings, drive, ["b/1.jpg", "c/1.jpg", "b/2.jpg"])
    assert along_folders(settings, drive[:1], drive).query_labels.tolist() == ["a"]
    assert along_folders(SequenceSettings(), ["a/1.jpg", "b/1.jpg"], drive).settings.frames == 1


def test_a_folder_is_a_sequence() -> None:
    assert by_folder(["a/1.jpg", "a/2.jpg", "b/c/1.jpg", "3.jpg"]).tolist() == ["a", "a", "b/c", ""]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"frames": 4}, "frames should be odd, since the query is the middle one; it is 4"),
        ({"frames": 0}, "greater than or equal to 1"),
        ({"speeds": (1.2, 0.8)}, r"speeds should rise, but are \[1.2, 0.8\]"),
        ({"speeds": (0, 1)}, "greater than or equal to 0.1"),
    ],
)
def test_bad_settings_are_one_sentence(settings, problem) -> None:
    with pytest.raises(ValueError, match=problem):
        SequenceSettings(**settings)


def test_speeds_that_lead_to_the_same_frames_are_tried_once() -> None:
    assert SequenceSettings(frames=3).paths().tolist() == [[-1, 0, 1]]
    assert SequenceSettings(frames=5, speeds=(0.5, 1)).paths().tolist() == [
        [-2, -1, 0, 1, 2],
        [-1, -1, 0, 1, 1],
        [-1, 0, 0, 0, 1],
    ]
