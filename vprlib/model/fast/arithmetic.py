"""How a network computes: its precision, the layout of its maps, and fast convolutions on CPUs."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vprlib.model.fast.winograd import Winograd, covered, weight_gradient, weight_spectrum
from vprlib.model.settings import Precision

LEAST_COVERED = 0.7  # of its tiles: a map of 6 × 9 fills 56 % of 2 × 3, and gains nothing
# channels on both sides, for Winograd to be worth its transforms
FEWEST_CHANNELS = 128
FEWEST_FOR_GRADIENT = 64  # of the weight, which is slower still in the ordinary way
_GRADIENT = torch.ops.aten.convolution_backward


SLOW_BFLOAT16 = (
    "this device has no bfloat16 of its own: numbers are rounded to it, which takes"
    " longer than float32"
)


class Arithmetic:
    """Within it networks compute this way; it may be entered again and again by one thread.

    bfloat16 rounds what goes into convolutions, and what comes out. Where a CPU has no such
    arithmetic, the same rounding is done around float32 kernels. What it derives from weights that
    are only looked at it keeps until they change.
    """

    def __init__(self, device: torch.device, precision: Precision = "float32") -> None:
        is_native = precision == "bfloat16" and has_bfloat16(device)
        self._how: AbstractContextManager = nullcontext()
        if is_native:
            self._how = torch.autocast(device.type, torch.bfloat16)
        elif device.type == "cpu":
            self._how = FastConvolutions(precision == "bfloat16")

    def __enter__(self) -> None:
        self._how.__enter__()

    def __exit__(self, *error: object) -> None:
        self._how.__exit__(*error)


def no_detours() -> AbstractContextManager:
    """For what has no convolution, within `Arithmetic`: each call by it takes microseconds."""
    return torch._C.DisableTorchFunction()


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 itself, so that it is faster than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in checks)


def placed(network: nn.Module, device: torch.device) -> nn.Module:
    """On the device, its convolutions channels-last, as their maps come."""
    return network.to(device, memory_format=torch.channels_last)


class FastConvolutions(TorchFunctionMode):
    """Convolutions of float32 maps by the fastest way measured; all else as it is.

    The way depends on the layer's shape alone, so that the same inputs round the same.
    """

    def __init__(self, is_rounded: bool = False) -> None:
        super().__init__()
        self.round = _as_bfloat16 if is_rounded else _as_it_is
        self.spectra: dict[int, _Derived] = {}  # by id of a weight that is kept alive

    def __torch_function__(
        self,
        function: Callable[..., object],
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        if function is torch.conv2d and not kwargs and len(args) == 7:
            return self._convolved(*args)
        return function(*args, **(kwargs or {}))

    def _convolved(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, int],
        padding: tuple[int, int] | str,
        dilation: tuple[int, int],
        groups: int,
    ) -> Tensor:
        given = (stride, padding, dilation)
        if x.dtype != torch.float32 or groups != 1 or isinstance(padding, str):
            return F.conv2d(x, weight, bias, *given, groups)
        rounded = self.round(weight)
        x = self.round(x).contiguous(memory_format=torch.channels_last)
        is_wide = min(weight.shape[:2]) >= FEWEST_CHANNELS
        if is_wide and _is_plain(weight, *given) and covered(*x.shape[2:]) >= LEAST_COVERED:
            return self.round(Winograd.apply(x, rounded, bias, self._spectrum(weight, rounded)))
        if weight.requires_grad and torch.is_grad_enabled():
            return self.round(MixedLayout.apply(x, rounded, bias, *given))
        return self.round(F.conv2d(x, rounded, bias, *given))

    def _spectrum(self, weight: Tensor, rounded: Tensor) -> Tensor | None:
        """Kept while a network only looks; one that learns changes its weights each step."""
        if torch.is_grad_enabled():
            self.spectra.pop(id(weight), None)
            return None
        kept = self.spectra.get(id(weight))
        if kept is None or kept.version != weight._version:
            kept = _Derived(weight, weight._version, weight_spectrum(rounded))
            self.spectra[id(weight)] = kept
        return kept.spectrum


class _Derived(NamedTuple):
    weight: Tensor
    version: int  # of the weight's values: PyTorch counts up whenever they change
    spectrum: Tensor


class MixedLayout(torch.autograd.Function):
    """A convolution channels-last, whose weight's gradient is taken another way.

    oneDNN has no fast kernel for that gradient channels-last: by Winograd, or else channels-first,
    it is 2 to 4 times faster.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, int],
        padding: tuple[int, int],
        dilation: tuple[int, int],
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.bias_sizes = None if bias is None else list(bias.shape)
        ctx.given = (stride, padding, dilation, False, [0, 0], 1)
        return F.conv2d(x, weight, bias, stride, padding, dilation)

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, gradient: Tensor
    ) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        to_x = None
        if ctx.needs_input_grad[0]:
            last = gradient.contiguous(memory_format=torch.channels_last)
            to_x, _, _ = _GRADIENT(last, x, weight, None, *ctx.given, [True, False, False])
        if _is_plain(weight, *ctx.given[:3]) and min(weight.shape[:2]) >= FEWEST_FOR_GRADIENT:
            to_bias = None if ctx.bias_sizes is None else gradient.sum(dim=(0, 2, 3))
            return to_x, weight_gradient(x, gradient), to_bias, None, None, None
        wanted = [False, True, ctx.bias_sizes is not None]
        first = (gradient.contiguous(), x.contiguous(), weight.contiguous())
        _, to_weight, to_bias = _GRADIENT(*first, ctx.bias_sizes, *ctx.given, wanted)
        return to_x, to_weight, to_bias, None, None, None


def _is_plain(
    weight: Tensor, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> bool:
    """3×3, and a map of the same size."""
    given = (tuple(weight.shape[2:]), tuple(stride), tuple(padding), tuple(dilation))
    return given == ((3, 3), (1, 1), (1, 1), (1, 1))


def _as_bfloat16(x: Tensor) -> Tensor:
    return x.bfloat16().float()


def _as_it_is(x: Tensor) -> Tensor:
    return x
