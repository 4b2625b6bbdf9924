"""The format of a file of a network or of visual words, by its first bytes."""

from pathlib import Path
from typing import Literal

from vprlib.pipeline.params import UserError

Kind = Literal["mat", "hdf5", "torch", "safetensors", "unknown"]


def kind_of(path: Path) -> Kind:
    try:
        with path.open("rb") as file:
            head = file.read(128)
            size = file.seek(0, 2)
    except OSError as error:
        reason = (error.strerror or "it cannot be opened").lower()
        raise UserError(f"{path} cannot be read ({reason}): put or link a file there.") from None
    if head[126:128] in (b"IM", b"MI"):  # MATLAB's byte order mark, from version 5 on
        return "mat"
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "hdf5"
    # first, since the length of a safetensors header may begin like a pickle
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < size:
        return "safetensors"
    if head.startswith((b"PK\x03\x04", b"\x80")):  # a zip, or in older files a pickle
        return "torch"
    return "unknown"
