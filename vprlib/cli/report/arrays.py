"""Files of data that a page loads as scripts, since a browser reads no other file from a disk."""

import base64
import json
from pathlib import Path

import numpy as np

from vprlib.pipeline.artifacts import write_text

DEGREE = 1e-7  # a centimetre, as whole numbers of 32 bits


def packed(values: np.ndarray, kind: str) -> dict[str, str]:
    """An array as little-endian numbers of `kind`, such as u1 or f4, in base64."""
    content = np.ascontiguousarray(values.astype(f"<{kind}")).tobytes()
    return {"kind": kind, "base64": base64.b64encode(content).decode()}


def write_data(path: Path, name: str, content: object) -> None:
    """A script that registers the content under a name; it holds ASCII alone."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    write_text(path, f"page.register({json.dumps(name)}, {text});\n")
