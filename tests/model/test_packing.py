"""Tensors read back as they were packed, and take as little of the file as they should."""

import pytest
import torch
from torch import Tensor

from vprlib.model.packing import PLAIN, Form, pack, unpack

GENERATOR = torch.Generator().manual_seed(1)


def tensors(zeros: float = 0.0) -> dict[str, Tensor]:
    weight = torch.randn(16, 5, 3, 3, generator=GENERATOR)
    weight[torch.rand(weight.shape, generator=GENERATOR) < zeros] = 0
    return {"weight": weight, "matrix": torch.randn(6, 40, generator=GENERATOR)}


def size(packed: dict[str, Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in packed.values())


@pytest.mark.parametrize("zeros", [0.0, 0.5, 1.0])
def test_what_leaves_out_zeros_reads_back_bit_by_bit(zeros: float) -> None:
    given = tensors(zeros)
    found = unpack(*pack(given, Form(leaves_out_zeros=True)))
    assert found.keys() == given.keys()
    assert all(torch.equal(found[name], given[name]) for name in given)


def test_half_of_the_weights_take_half_the_file_and_a_bit_each() -> None:
    weight = torch.cat([torch.zeros(400), torch.ones(400)]).reshape(8, 100)
    packed, shapes = pack({"weight": weight}, Form(leaves_out_zeros=True))
    assert size(packed) == 400 * 4 + 800 / 8 and shapes == {"weight": [8, 100]}


def test_zeros_that_cost_more_to_mark_than_to_keep_are_kept() -> None:
    weight = torch.ones(8, 100)
    weight[0, :20] = 0  # 2.5 %: 640 bits, against 800 marks
    packed, shapes = pack({"weight": weight}, Form(leaves_out_zeros=True))
    assert packed.keys() == {"weight"} and not shapes


@pytest.mark.parametrize(("numbers", "error"), [("float16", 2**-11), ("bfloat16", 2**-8)])
def test_half_precision_takes_half_and_comes_back_as_float32(numbers: str, error: float) -> None:
    given = tensors()
    packed, shapes = pack(given, Form(numbers=numbers))
    found = unpack(packed, shapes)
    assert size(packed) * 2 == size(given)
    for name, values in found.items():
        assert values.dtype == torch.float32
        torch.testing.assert_close(values, given[name], rtol=error, atol=1e-7)


def test_a_plain_file_holds_the_tensors_themselves() -> None:
    given = tensors(0.9)
    packed, shapes = pack(given, PLAIN)
    assert not shapes and all(torch.equal(packed[name], given[name]) for name in given)
