"""The device that computes, set up so that the same inputs give the same bytes."""

import torch

from vprlib.params import UserError
from vprlib.runtime import RuntimeSettings


def prepare(runtime: RuntimeSettings) -> torch.device:
    """Sets threads and deterministic kernels for the whole process; gives the device."""
    torch.set_num_threads(runtime.cores)
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
