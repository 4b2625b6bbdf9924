"""The device that computes, set up so that the same inputs give the same bytes."""

import os

import torch
import torch.utils.deterministic

from vprlib.params import UserError
from vprlib.runtime import RuntimeSettings


def prepare(runtime: RuntimeSettings) -> torch.device:
    """Sets threads and deterministic kernels for the whole process; gives the device."""
    torch.set_num_threads(runtime.cores)
    # without this, the gradient of indexing adds up in the order in which threads come by
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
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
