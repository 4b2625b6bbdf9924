"""A session of ONNX Runtime on the CPU; what it cannot run is a ValueError with the reason."""

from pathlib import Path
from typing import TYPE_CHECKING

from vprlib.pipeline.params import UserError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

INPUT, OUTPUT = "pixels", "descriptor"  # of files that we write


def open_session(content: bytes | Path, threads: int, what: str) -> "InferenceSession":
    """`what` needs ONNX Runtime. Bytes cannot refer to other files on the disk."""
    try:
        import onnxruntime as runtime
    except ImportError:
        raise UserError(f"{what} needs ONNX Runtime: run `pip install -e '.[onnx]'`.") from None
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4  # nothing is printed: what is wrong is raised
    given = str(content) if isinstance(content, Path) else content
    try:
        return runtime.InferenceSession(given, options, ["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no base class of their own
        raise ValueError(reason(error)) from None


def reason(error: Exception) -> str:
    """What ONNX Runtime says, in one line."""
    return " ".join(str(error).split())[:200]
