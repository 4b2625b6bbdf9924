"""Batches: fixed by the images alone, decoded by any number of threads, broken files named."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vprlib.images.batches import (
    IMAGES_A_BATCH,
    PIXELS_A_BATCH,
    ImageSource,
    images_a_batch,
    load_ahead,
    open_source,
    plan_batches,
    stream,
)
from vprlib.images.decode import ImageSettings
from vprlib.images.index import write_index
from vprlib.pipeline.params import UserError
from vprlib.pipeline.runtime import RuntimeSettings

SMALL, TALL = (4, 3), (3, 4)
MakeSource = Callable[..., ImageSource]


@pytest.fixture
def mixed(source_of: MakeSource, noise: Callable[..., np.ndarray]) -> ImageSource:
    shapes = [(64, 48), (48, 64), (64, 48), (64, 48), (32, 32), (48, 64)]
    return source_of([noise(row, *shape) for row, shape in enumerate(shapes)])


def test_one_batch_a_size_in_order_of_first_appearance() -> None:
    sizes = np.array([SMALL, TALL, SMALL, TALL, SMALL])
    batches = plan_batches(sizes, [3, 0, 1, 4, 2])
    assert [b.tolist() for b in batches] == [[3, 1], [0, 4, 2]]


def test_batches_hold_each_row_once_of_one_size_and_below_the_limit() -> None:
    generator = np.random.default_rng(1)
    sizes = np.array([SMALL, TALL, (9, 9)])[generator.integers(0, 3, 300)]
    rows = generator.permutation(300)[:250]
    batches = plan_batches(sizes, rows)
    assert sorted(np.concatenate(batches)) == sorted(rows)
    assert all(len(b) <= IMAGES_A_BATCH for b in batches)
    assert all((sizes[b] == sizes[b[0]]).all() for b in batches)
    place = {row: n for n, row in enumerate(rows.tolist())}
    assert all(
        (np.diff([place[row] for row in b]) > 0).all() for b in map(np.ndarray.tolist, batches)
    )


def test_no_rows_are_no_batches() -> None:
    assert plan_batches(np.zeros((3, 2), int), []) == []


def test_a_batch_holds_fewer_large_images_and_never_a_single_one_by_plan() -> None:
    assert images_a_batch(64, 64) == IMAGES_A_BATCH
    assert images_a_batch(640, 480) == PIXELS_A_BATCH // (640 * 480) == 6
    assert images_a_batch(4000, 3000) == 2


def test_a_batch_left_over_is_shared_out_evenly() -> None:
    sizes = np.broadcast_to([64, 64], (33, 2))
    assert [len(b) for b in plan_batches(sizes, np.arange(33))] == [17, 16]


def test_sizes_are_those_that_decoding_gives(mixed: ImageSource) -> None:
    settings = ImageSettings(resize=24)
    source = ImageSource(mixed.index, mixed.folder, settings)
    for row, (width, height) in enumerate(source.sizes().tolist()):
        assert source.pixels(row).shape == (height, width, 3)


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("memory_gib", [1e-6, 1.0])
def test_threads_and_memory_change_no_result(
    mixed: ImageSource, workers: int, memory_gib: float
) -> None:
    runtime = RuntimeSettings(workers=workers, memory_gib=memory_gib)
    batches = plan_batches(mixed.sizes(), [5, 3, 0, 2, 4, 1])
    found = list(stream(mixed, batches, runtime))
    assert [b.rows.tolist() for b in found] == [[5, 1], [3, 0, 2], [4]]
    for batch in found:
        for row, pixels in zip(batch.rows, batch.pixels, strict=True):
            stored = np.asarray(Image.open(mixed.folder / mixed.index.names[row]))
            np.testing.assert_array_equal(pixels, stored)


@pytest.mark.parametrize(
    ("resize", "expected"),
    [
        (None, {(64, 48), (48, 64), (32, 32)}),
        (24, {(32, 24), (24, 32), (24, 24)}),
        ((40, 30), {(40, 30)}),
    ],
)
def test_mixed_sizes_come_in_batches_of_one_size_each(
    mixed: ImageSource, runtime: RuntimeSettings, resize: object, expected: set[tuple[int, int]]
) -> None:
    source = replace(mixed, settings=ImageSettings(resize=resize))
    batches = list(stream(source, plan_batches(source.sizes(), range(6)), runtime))
    assert {batch.pixels.shape[2:0:-1] for batch in batches} == expected
    assert len(batches) == len(expected)
    assert sorted(np.concatenate([batch.rows for batch in batches])) == list(range(6))


def test_images_with_a_box_are_batched_by_its_size(
    mixed: ImageSource, runtime: RuntimeSettings
) -> None:
    boxes = np.array([[0, 0, 20, 10]] * 5 + [[0, 0, 10, 20.0]])
    source = replace(mixed, index=replace(mixed.index, extra={"box": boxes}))
    batches = list(stream(source, plan_batches(source.sizes(), range(6)), runtime))
    assert [batch.pixels.shape for batch in batches] == [(5, 10, 20, 3), (1, 20, 10, 3)]


@pytest.mark.parametrize("ahead", [1, 3, 10])
def test_groups_come_in_order_and_are_not_loaded_far_ahead(mixed: ImageSource, ahead: int) -> None:
    asked = []

    def groups() -> object:
        for row in (5, 0, 3, 1, 2):
            asked.append(row)
            yield [partial(mixed.pixels, row)]

    decoded = load_ahead(groups(), 2, ahead)
    first = next(decoded)
    assert asked == [5, 0, 3, 1, 2][: ahead + 1]
    rest = [first, *decoded]
    for row, (pixels,) in zip((5, 0, 3, 1, 2), rest, strict=True):
        np.testing.assert_array_equal(pixels, mixed.pixels(row))


def test_an_image_replaced_since_parsing_is_named_with_the_command(mixed: ImageSource) -> None:
    Image.new("RGB", (20, 10)).save(mixed.folder / "002.jpg")
    sentence = r"002\.jpg is 20×10, but was 64×48 since .*`dvc repro -f -s parse_mat@set`\.$"
    with pytest.raises(UserError, match=sentence):
        mixed.pixels(2)


def test_an_image_that_went_missing_is_named_with_the_command(
    mixed: ImageSource, runtime: RuntimeSettings
) -> None:
    (mixed.folder / "001.jpg").unlink()
    with pytest.raises(UserError, match=r"001\.jpg is missing since .*`dvc repro -f -s parse_mat"):
        list(stream(mixed, [np.array([0, 1])], runtime))


def test_an_image_damaged_since_parsing_is_named_with_the_command(mixed: ImageSource) -> None:
    whole = (mixed.folder / "003.jpg").read_bytes()
    (mixed.folder / "003.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"003\.jpg has other content .* since the set was"):
        mixed.pixels(3)


def test_an_image_turned_since_parsing_is_named_with_the_command(mixed: ImageSource) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (64, 48)).save(mixed.folder / "002.jpg", exif=exif)
    with pytest.raises(UserError, match=r"002\.jpg .* since the set was parsed"):
        mixed.pixels(2)


def test_a_source_is_opened_from_its_index_file(mixed: ImageSource, tmp_path: Path) -> None:
    write_index(tmp_path / "a.h5", mixed.index)
    source = open_source(tmp_path / "a.h5", mixed.folder, mixed.settings)
    np.testing.assert_array_equal(source.pixels(4), mixed.pixels(4))
