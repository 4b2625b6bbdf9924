"""Files of our own that are damaged become a sentence, whatever is wrong with them."""

import json
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest

from vprlib.pipeline.artifacts import write_hdf5
from vprlib.pipeline.json_files import read_json
from vprlib.pipeline.params import UserError
from vprlib.pipeline.stored import reading

ARRAYS = {"names": ["a", "b"], "rows": np.arange(6.0).reshape(2, 3), "flags": np.ones(2, bool)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_hdf5(tmp_path / "a.h5", ARRAYS, {"set": "s", "radius": 2.5, "is_exact": True})
    return tmp_path / "a.h5"


def refused(path: Path, *expected: str) -> None:
    """Reading all of the file is refused with these words."""
    with pytest.raises(UserError) as caught, reading(path) as file:
        file.array("names", "O", "N")
        file.array("rows", "f", "N 3")
        file.array("flags", "b", "N")
        file.text("set"), file.number("radius"), file.truth("is_exact")
    sentence = str(caught.value)
    assert sentence.startswith(f"{path} is damaged, or of another version (")
    assert sentence.endswith("): run `dvc repro`, which makes it again.")
    assert len(sentence) - len(str(path)) < 300
    for words in expected:
        assert words in sentence


def test_what_is_whole_is_read(path: Path) -> None:
    with reading(path) as file:
        assert file.array("names", "O", "N").tolist() == ["a", "b"]
        np.testing.assert_array_equal(file.array("rows", "f", "N D"), ARRAYS["rows"])
        assert (file.text("set"), file.number("radius"), file.truth("is_exact")) == ("s", 2.5, True)
        assert file.names() == ["flags", "names", "rows"] and "rows" in file


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda f: f.move("rows", "x"), "lacks 'rows'"),
        (lambda f: replace(f, "rows", np.ones((2, 4))), "should have the shape (2, 3)"),
        (lambda f: replace(f, "rows", np.ones(6)), "should have the shape (2, 3), but has (6,)"),
        (lambda f: replace(f, "flags", np.ones(3, bool)), "should have the shape (2)"),
        (lambda f: replace(f, "flags", np.ones(2)), "'flags' should be boolean, but is float64"),
        (lambda f: replace(f, "names", np.ones(2)), "'names' should be text, but is float64"),
        (lambda f: f.attrs.pop("set"), "lacks the attribute 'set'"),
        (lambda f: f.attrs.update(radius="wide"), "'radius' should be a number, but is 'wide'"),
        (lambda f: f.attrs.update(radius=np.nan), "'radius' should be a number, but is"),
        (lambda f: f.attrs.update(set=3), "'set' should be text"),
        (lambda f: f.attrs.update(is_exact=3), "'is_exact' should be true or false"),
        (
            lambda f: (f.__delitem__("rows"), f.create_group("rows")),
            "'rows' is no array of its own",
        ),
        (lambda f: link(f, h5py.ExternalLink("b.h5", "rows")), "'rows' is no array of its own"),
        (lambda f: link(f, h5py.SoftLink("/flags")), "'rows' is no array of its own"),
    ],
)
def test_what_is_not_as_expected_is_said(path: Path, change: object, expected: str) -> None:
    with h5py.File(path, "r+") as file:
        change(file)
    refused(path, expected)


def replace(file: h5py.File, name: str, values: np.ndarray) -> None:
    del file[name]
    file[name] = values


def link(file: h5py.File, target: object) -> None:
    del file["rows"]
    file["rows"] = target


@pytest.mark.parametrize("content", [b"", b"no HDF5 at all", bytes(9000)])
def test_another_kind_of_file_is_said(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    refused(path)


def test_a_file_cut_anywhere_is_said(path: Path) -> None:
    content = path.read_bytes()
    for length in range(1, len(content), 97):
        path.write_bytes(content[:length])
        refused(path)


def test_values_in_other_files_are_not_read(path: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(np.full((2, 3), 7.0).tobytes())
    with h5py.File(path, "r+") as file:
        del file["rows"]
        file.create_dataset("rows", (2, 3), "f8", external=[(str(secret), 0, 48)])
    refused(path, "'rows' is no array of its own")
    with h5py.File(tmp_path / "b.h5", "w") as other:
        other["rows"] = np.ones((2, 3))
    layout = h5py.VirtualLayout((2, 3), "f8")
    layout[:] = h5py.VirtualSource(tmp_path / "b.h5", "rows", (2, 3))
    with h5py.File(path, "r+") as file:
        del file["rows"]
        file.create_virtual_dataset("rows", layout)
    refused(path, "'rows' is no array of its own")


@pytest.mark.parametrize("chunks", [None, True])
def test_an_array_larger_than_its_file_is_not_made(path: Path, chunks: bool | None) -> None:
    with h5py.File(path, "r+") as file:
        del file["rows"]
        file.create_dataset("rows", (2**40, 3), "f8", chunks=chunks)
    with (
        pytest.raises(UserError, match="should have 26388279066624 bytes, but the file has"),
        reading(path) as file,
    ):
        file.array("rows", "f", "N 3")


def test_a_small_file_that_unpacks_to_much_more_is_not_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, rows in (("few", 1000), ("many", 9000)):
            file.create_dataset(name, data=np.zeros((rows, 500)), compression="gzip")
    with reading(tmp_path / "a.h5") as file:
        assert file.array("few", "f", "K D").shape == (1000, 500)
        with pytest.raises(UserError, match="'many' should have 36000000 bytes, but the file"):
            file.array("many", "f", "N D")


def test_bytes_that_flipped_give_values_or_a_sentence(path: Path) -> None:
    content, random = path.read_bytes(), np.random.default_rng(1)
    for _ in range(300):
        damaged = bytearray(content)
        for place in random.integers(len(content), size=8):
            damaged[place] = random.integers(256)
        path.write_bytes(damaged)
        try:
            with reading(path) as file:
                assert len(file.array("names", "O", "N")) == 2
                file.array("rows", "f", "N 3"), file.array("flags", "b", "N")
                file.text("set"), file.number("radius"), file.truth("is_exact")
        except UserError as error:
            assert "is damaged" in str(error)


@dataclass
class Shape:
    name: str
    points: list[tuple[float, float]]


def test_json_of_the_expected_shape_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"name": "n", "points": [[1, 2]]}))
    assert read_json(path, Shape) == Shape("n", [(1, 2)])


OTHERS = [
    *(b"", b"{", b"[]", b"\xff", b"null", b"[" * 9999, b'{"name": "n"}'),
    *(b'{"name": 3, "points": []}', b'{"name": "n", "points": [[1]]}'),
    b'{"name": "n", "points": [[1, "x"]]}',
]


@pytest.mark.parametrize("content", OTHERS)
def test_other_json_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"is damaged, or of another version \(.*: run `dvc repro`"):
        read_json(path, Shape)
