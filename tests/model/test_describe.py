"""Describing: each row gets its own descriptor, whatever stands beside it in a batch."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor
from training import a_model

from vprlib.images.batches import ImageSource
from vprlib.model.describe import describe, describe_into, network_output
from vprlib.model.model import PlaceModel
from vprlib.model.precision import compute_in
from vprlib.pipeline.params import UserError
from vprlib.pipeline.runtime import RuntimeSettings


def mean_colour(pixels: Tensor) -> Tensor:
    return pixels.double().mean(dim=(1, 2))


@pytest.fixture
def mixed(source_of: Callable[..., ImageSource], noise: Callable[..., np.ndarray]) -> ImageSource:
    shapes = [(64, 48), (48, 64), (64, 48), (64, 48), (48, 64), (40, 40)]
    return source_of([noise(row, *shape) for row, shape in enumerate(shapes)])


@pytest.fixture
def model(slim: str) -> PlaceModel:
    return a_model()


def test_each_row_gets_its_own_value(
    mixed: ImageSource, cpu: torch.device, runtime: RuntimeSettings
) -> None:
    found = {
        row: value
        for part in describe(mean_colour, mixed, [4, 0, 2, 5], cpu, runtime)
        for row, value in zip(part.rows.tolist(), part.values, strict=True)
    }
    assert sorted(found) == [0, 2, 4, 5]
    for row, value in found.items():
        assert value.dtype == torch.float32
        twin = mixed.pixels(row).reshape(-1, 3).mean(axis=0)
        np.testing.assert_allclose(value, twin, rtol=1e-6)


@pytest.mark.parametrize("kind", ["array", "hdf5"])
def test_values_are_written_to_their_rows_and_to_no_others(
    mixed: ImageSource, cpu: torch.device, runtime: RuntimeSettings, tmp_path: Path, kind: str
) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        target = np.full((6, 3), -1, np.float32)
        target = file.create_dataset("d", data=target) if kind == "hdf5" else target
        describe_into(target, mean_colour, mixed, np.array([3, 1, 0]), cpu, runtime)
        twin = np.full((6, 3), -1.0)
        for row in (0, 1, 3):
            twin[row] = mixed.pixels(row).reshape(-1, 3).mean(axis=0)
        np.testing.assert_allclose(target[:], twin, rtol=1e-6)


def test_an_image_alone_is_described_as_among_others(
    model: PlaceModel, mixed: ImageSource, cpu: torch.device, runtime: RuntimeSettings
) -> None:
    together, alone = (np.zeros((6, model.dim), np.float32) for _ in "ab")
    describe_into(together, model, mixed, np.arange(6), cpu, runtime)
    for row in range(6):
        describe_into(alone, model, mixed, [row], cpu, runtime)
    assert alone.tobytes() == together.tobytes()
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    assert np.abs(together[0] - together[2]).max() > 1e-3


def test_threads_change_no_byte(model: PlaceModel, mixed: ImageSource, cpu: torch.device) -> None:
    one, two = (np.zeros((6, model.dim), np.float32) for _ in "ab")
    for target, workers in ((one, 1), (two, 4)):
        describe_into(target, model, mixed, np.arange(6), cpu, RuntimeSettings(workers=workers))
    assert one.tobytes() == two.tobytes()


def test_no_network_ever_sees_a_single_image() -> None:
    seen = []

    def network(pixels: Tensor) -> Tensor:
        seen.append(len(pixels))
        return mean_colour(pixels)

    for count in (1, 2, 3):
        pixels = torch.arange(count * 12).reshape(count, 2, 2, 3)
        torch.testing.assert_close(network_output(network, pixels), mean_colour(pixels))
    assert seen == [2, 2, 3]


def test_a_network_computes_in_the_precision_that_it_names(
    mixed: ImageSource, cpu: torch.device, runtime: RuntimeSettings
) -> None:
    class Named:
        precision = "bfloat16"

        def __call__(self, pixels: Tensor) -> Tensor:
            maps = pixels.permute(0, 3, 1, 2).float() / 255
            return torch.conv2d(maps, torch.ones(2, 3, 1, 1), None, 1, 0, 1, 1).mean(dim=(2, 3))

    pixels = torch.from_numpy(mixed.pixels(0)[None].copy())
    with torch.no_grad(), compute_in(cpu, "bfloat16"):
        wanted = network_output(Named(), pixels)
    found = next(describe(Named(), mixed, [0], cpu, runtime)).values
    assert torch.equal(found, wanted.float())
    assert not torch.equal(found, network_output(Named(), pixels))


def test_describing_keeps_no_gradient(
    model: PlaceModel, mixed: ImageSource, cpu: torch.device, runtime: RuntimeSettings
) -> None:
    assert not next(describe(model, mixed, [0], cpu, runtime)).values.requires_grad


def test_images_that_would_fill_the_memory_are_refused(model: PlaceModel) -> None:
    pixels = torch.zeros(1, 1, 1, 3, dtype=torch.uint8).expand(2, 90_000, 90_000, 3)
    with pytest.raises(UserError, match=r"images of 90000×90000 pixels take about \d+ GiB in"):
        network_output(model, pixels)
