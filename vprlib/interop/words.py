"""Reads and writes visual words: the original's `*_clst.mat` and the PyTorch port's HDF5."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from vprlib.formats.matfile import mat_bytes, read_mat
from vprlib.pipeline.artifacts import write_bytes, write_hdf5
from vprlib.pipeline.params import UserError
from vprlib.pipeline.stored import reading

Kind = Literal["mat", "hdf5", "torch", "safetensors", "unknown"]


def kind_of(path: Path) -> Kind:
    """The format of a file of visual words or of a network, by its first bytes."""
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


@dataclass(frozen=True)
class Words:
    centroids: np.ndarray  # [K, D] float32
    descriptors: np.ndarray | None = None  # [n, D] float32, the sample that they were learnt from

    def arrays(self) -> dict[str, np.ndarray]:
        """Arrays by name, as in the port's file."""
        return {name: values for name, values in vars(self).items() if values is not None}


_READ = ("centroids", "descriptors")  # arrays of the port's file
NO_WORDS = Words(np.zeros((0, 0), np.float32))


def read_words(path: Path) -> Words:
    """The words of either kind of file; only the port's has descriptors."""
    arrays = _arrays(path)
    if "clsts" in arrays:
        return Words(_matrix(arrays, "clsts", path).T.copy())
    if "centroids" not in arrays:
        raise UserError(
            f"{path} should hold visual words, as 'clsts' in a .mat or 'centroids' in an HDF5 file,"
            f" but holds {', '.join(arrays) or 'nothing'}."
        )
    descriptors = _matrix(arrays, "descriptors", path) if "descriptors" in arrays else None
    words = Words(_matrix(arrays, "centroids", path), descriptors)
    _check_lengths(words, path)
    return words


def read_descriptors(path: Path) -> np.ndarray:
    """The local descriptors [n, D] in a file of words or of a sample."""
    arrays = _arrays(path)
    if "descriptors" not in arrays:
        raise UserError(
            f"{path} holds no 'descriptors', but {', '.join(arrays) or 'nothing'}: take"
            " artifacts/features/sample.h5."
        )
    return _matrix(arrays, "descriptors", path)


def check_words(words: Words, clusters: int, dim: int, path: Path) -> None:
    """Checks number and length of the words against the settings."""
    count, length = words.centroids.shape
    if count != clusters:
        raise UserError(
            f"{path} has {count} words, but kmeans.clusters is {clusters}: set it to {count} in"
            " params.yaml, or take another kmeans.file."
        )
    if length != dim:
        raise UserError(
            f"{path} has words of {length} dimensions, but the backbone's features have {dim}:"
            " take words of this backbone, or set kmeans.file to null in params.yaml."
        )


def write_mat_words(path: Path, centroids: np.ndarray) -> None:
    """For the original: `clsts` [D, K]."""
    write_bytes(path, mat_bytes({"clsts": centroids.T.astype(np.float32)}, "visual words"))


def write_port_words(path: Path, words: Words) -> None:
    """For the PyTorch port, which initialises its layer from words and descriptors."""
    if words.descriptors is None:
        raise UserError(
            f"{path} was not written: the PyTorch port needs local descriptors as well as words:"
            " add a file that has them, such as --descriptors artifacts/features/sample.h5."
        )
    _check_lengths(words, path)
    write_hdf5(path, words.arrays())


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of the file by name."""
    kind = kind_of(path)
    if kind == "mat":
        return read_mat(path)
    if kind != "hdf5":
        raise UserError(f"{path} should be a .mat or HDF5 file of visual words, but is neither.")
    with reading(path, remedy="fetch it again") as file:
        names = file.names()
        return {n: file.array(n, "fiu", "*") if n in _READ else np.zeros(0) for n in names}


def _matrix(arrays: dict[str, np.ndarray], name: str, path: Path) -> np.ndarray:
    values = arrays[name]
    if values.dtype.kind not in "iuf" or values.ndim != 2 or not values.size:
        raise UserError(
            f"{path}: '{name}' should be a matrix of numbers, but is {values.dtype} with shape"
            f" {values.shape}."
        )
    wrong = int((~np.isfinite(values)).sum())
    if wrong:
        raise UserError(f"{path}: {wrong} of the {values.size} numbers of '{name}' are not finite.")
    return values.astype(np.float32)


def _check_lengths(words: Words, path: Path) -> None:
    if words.descriptors is None:
        return
    lengths = words.centroids.shape[1], words.descriptors.shape[1]
    if lengths[0] != lengths[1]:
        raise UserError(
            f"{path}: words of {lengths[0]} and descriptors of {lengths[1]} dimensions do not"
            " fit: take the descriptors that the words were learnt from."
        )
