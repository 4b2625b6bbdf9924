"""Why a file cannot be written, as a sentence."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vprlib.pipeline.params import UserError

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
_NO_RIGHT = {errno.EACCES, errno.EPERM, errno.EROFS}
_REASONS = {
    errno.EISDIR: "it is a folder; name a file in it",
    errno.ENODEV: "it is a device or a pipe; name an ordinary file",
    errno.EINVAL: "its name has a character without a meaning; name another",
    **dict.fromkeys(
        (errno.ENOTDIR, errno.EEXIST),
        "there is a file where a folder is needed; name another",
    ),
}


@contextmanager
def explaining(path: Path) -> Iterator[None]:
    """Turns the error of a place that cannot be written into a sentence about `path`."""
    try:
        yield
    except OSError as error:
        raise explained(error, path) from error


def check_place(path: Path) -> None:
    """Refuses what is no name of a file, and what a file must not replace: /dev/null is needed."""
    with explaining(path):
        if path.name in ("", ".."):
            raise OSError(errno.EISDIR, "", str(path))
        if "\0" in str(path):
            raise OSError(errno.EINVAL, "", str(path))
        is_other = path.exists() and not path.is_file() and not path.is_dir()
        if is_other or path.parent == Path("/dev"):  # there /dev/stdout may lead to a file
            raise OSError(errno.ENODEV, "", str(path))


def explained(error: Exception, path: Path) -> Exception:
    """The sentence for a place that cannot be written; an error of something else as it is."""
    told = re.search(r"errno = (\d+)", str(error))  # by HDF5
    number = getattr(error, "errno", None) or (int(told[1]) if told else 0)
    if number in _NO_SPACE or os.strerror(errno.ENOSPC) in str(error):  # by Faiss
        reason = "no space left on the disk; free some and run again"
    elif number in _NO_RIGHT:
        reason = f"{os.strerror(number).lower()}; make its folder writable and run again"
    elif isinstance(error, OSError) and error.errno is not None and _is_at(error, path):
        reason = _REASONS.get(number, f"{os.strerror(number).lower()}; name another file")
    else:
        return error
    return UserError(f"{path} could not be written: {reason}.")


def _is_at(error: OSError, path: Path) -> bool:
    """Whether it is about `path`, what is beside it, or a folder above it, and not about an input.

    HDF5 does not give the name of a file that is missing.
    """
    if error.filename is None:
        return error.errno != errno.ENOENT
    named = Path(os.fsdecode(error.filename))
    return path.is_relative_to(named) or named.is_relative_to(
        path.with_name(f".{path.name}.partial")
    )
