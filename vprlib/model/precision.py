"""The precision that networks compute in, and how their weights lie in memory."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vprlib.model.settings import ComputePrecision, Precision

Network = TypeVar("Network", bound=nn.Module)
SLOW_BFLOAT16 = (
    "this device has no native bfloat16: it is emulated, which is slower than float32; set"
    " precision to auto or float32."
)


def resolve_precision(
    wanted: Precision, device: torch.device, say: Callable[[str], None] = lambda sentence: None
) -> ComputePrecision:
    """`auto` is bfloat16 on a device that computes in it natively, and float32 on any other."""
    if wanted == "auto":
        return "bfloat16" if has_bfloat16(device) else "float32"
    if wanted == "bfloat16" and not has_bfloat16(device):
        say(SLOW_BFLOAT16)
    return wanted


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16, so that it is faster than float32.

    On CPUs these are AVX-512 BF16 and AMX; GPUs have them from compute capability 8 (Ampere).
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return device.type == "cpu" and any(getattr(torch.cpu, name, bool)() for name in checks)


def compute_in(device: torch.device, precision: Precision) -> AbstractContextManager:
    """Within it networks compute in this precision; one thread may enter it again and again.

    bfloat16 rounds what goes into convolutions and what comes out. Where the device has no such
    instructions, float32 kernels are used in between.
    """
    if resolve_precision(precision, device) == "float32":
        return nullcontext()
    if has_bfloat16(device):
        return torch.autocast(device.type, torch.bfloat16)
    return RoundedConvolutions()


def placed(network: Network, device: torch.device) -> Network:
    """On the device, its convolutions channels-last, as their maps come."""
    # PyTorch's stubs know no memory format of a module
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


class RoundedConvolutions(TorchFunctionMode):
    """Convolutions of float32 maps with input, weight and output rounded to bfloat16."""

    def __torch_function__(
        self,
        function: Callable[..., object],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        if function is torch.conv2d and not kwargs and args[0].dtype == torch.float32:
            x, weight, *others = args
            return _rounded(F.conv2d(_rounded(x), _rounded(weight), *others))
        return function(*args, **(kwargs or {}))


def _rounded(x: Tensor) -> Tensor:
    return x.bfloat16().float()
