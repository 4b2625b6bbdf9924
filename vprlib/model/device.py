"""Sets up the device so that the same inputs give the same bytes."""

import ctypes
import os
import sys

import numpy as np
import PIL
import torch
from torch.utils import deterministic

from vprlib.pipeline.params import UserError
from vprlib.pipeline.runtime import RuntimeSettings, member, processor_name

# options of glibc's mallopt: sizes above which freed memory is returned to the system
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
_KEPT_BYTES = 2**30


def prepare(runtime: RuntimeSettings) -> torch.device:
    """Sets threads and deterministic kernels for the whole process; returns the device."""
    torch.set_num_threads(runtime.cores)
    _keep_freed_memory()
    # without this, the gradient of indexing is summed in the order of the threads
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_deterministic_debug_mode("warn")  # like use_deterministic_algorithms, which takes 2 s
    # PyTorch's stubs lack it
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    device = _own_gpu(runtime) if member().local_size > 1 else None
    if device is not None:
        torch.cuda.set_device(device)  # otherwise each process also uses memory of the first GPU
        return device
    if runtime.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(runtime.device)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(
            f"params.yaml: runtime.device is '{runtime.device}', which does not work here"
            f" ({reason}): use auto or cpu."
        ) from None
    return device


def _keep_freed_memory() -> None:
    """Makes glibc reuse the memory of freed arrays.

    By default it returns arrays above 32 MB to the system and allocates them again page by page;
    describing with VGG16 then takes a third longer.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)


def _own_gpu(runtime: RuntimeSettings) -> torch.device | None:
    """The GPU with the local number of this process; None if no GPU is wanted."""
    if not runtime.device.startswith(("auto", "cuda")) or not torch.cuda.is_available():
        return None
    processes, gpus = member().local_size, torch.cuda.device_count()
    if processes > gpus:
        raise UserError(
            f"params.yaml: runtime.processes is {processes}, but this machine has {gpus} GPU(s),"
            " and each process needs one: lower it, or set runtime.device to cpu."
        )
    if ":" in runtime.device:
        raise UserError(
            f"params.yaml: runtime.device is '{runtime.device}', but the {processes} processes of"
            " runtime.processes need a GPU each: use cuda."
        )
    return torch.device("cuda", member().local_rank)


def machine(device: torch.device) -> dict[str, str]:
    """What the rounding of a descriptor depends on besides images, network and code."""
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()
    capability = torch.backends.cpu.get_cpu_capability()
    versions = {"torch": torch.__version__, "numpy": np.__version__, "pillow": PIL.__version__}
    return {"device": f"{device.type} {kind}", "cpu": capability, **versions}
