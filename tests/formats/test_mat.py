"""Specification files: the official dialect, its traps, and a sentence for each broken file."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from vprlib.formats.dialects import read_specification
from vprlib.formats.mat import specification_bytes
from vprlib.formats.matfile import mat_bytes, read_mat
from vprlib.formats.specification import Specification
from vprlib.pipeline.params import UserError

SMALL = Specification(
    "test",
    ["000/a b.jpg", "-x/ü.jpg", "c.jpg"],
    np.array([[585_000.123456789, 4_477_000.2], [1.5, 2.5], [3.0, 4.0]]),
    ["q.jpg", "r.jpg"],
    np.array([[585_001.1, 4_477_000.24], [0.1, 0.2]]),
    25.0,
    10.0,
)
TIMED = replace(SMALL, database_times=np.array([1.0, 2.5, 3.0]), query_times=np.array([7.0, 8.0]))
Written = Callable[..., Path]


def cell(*names: str) -> np.ndarray:
    values = np.empty((len(names), 1), dtype=object)
    values[:, 0] = names
    return values


def official() -> dict[str, object]:
    return {
        "whichSet": "val",
        "dbImageFns": cell("a.jpg", "b.jpg"),
        "utmDb": np.array([[1.0, 2.0], [3.0, 4.0]]),
        "qImageFns": cell("q.jpg"),
        "utmQ": np.array([[5.0], [6.0]]),
        "numImages": np.uint16(2),
        "numQueries": np.uint16(1),
        "posDistThr": np.uint8(25),
        "posDistSqThr": np.uint16(625),
        "nonTrivPosDistSqThr": np.uint8(100),
    }


def from_python() -> dict[str, object]:
    """As numpy users write it: unequal names become a padded character matrix."""
    return {
        "whichSet": np.array("test"),
        "dbImage": np.array(["a b.jpg", "longer/c.jpg"]),
        "utmDb": np.array([[1.0, 2.0], [3.0, 4.0]]),
        "qImage": np.array(["q.jpg"]),
        "utmQ": np.array([[5.0], [6.0]]),
        "numDb": np.uint32(2),
        "numQ": np.uint32(1),
        "posDistThr": np.uint32(25),
        "posDistSqThr": np.uint32(625),
        "nonTrivPosDistSqThr": np.uint32(100),
    }


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """A .mat file with the official struct or Python's, some fields changed or left out."""

    def make(without: str = "", struct: Callable[[], dict] = official, **changes: object) -> Path:
        fields = {k: v for k, v in (struct() | changes).items() if k != without}
        scipy.io.savemat(tmp_path / "set.mat", {"dbStruct": fields})
        return tmp_path / "set.mat"

    return make


def saved(folder: Path, specification: Specification) -> Path:
    (folder / "x.mat").write_bytes(specification_bytes(specification))
    return folder / "x.mat"


def assert_equal(found: Specification, expected: Specification) -> None:
    for name, value in vars(expected).items():
        np.testing.assert_array_equal(vars(found)[name], value, err_msg=name)
    assert found.database_positions.dtype == found.query_positions.dtype == np.float64


@pytest.mark.parametrize("specification", [SMALL, TIMED, replace(SMALL, training_radius_m=7.3)])
def test_a_specification_reads_back_as_it_was_written(
    tmp_path: Path, specification: Specification
) -> None:
    (tmp_path / "x.mat").write_bytes(specification_bytes(specification, "a note"))
    assert_equal(read_specification(tmp_path / "x.mat"), specification)


def test_same_content_gives_the_same_bytes_at_another_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = specification_bytes(TIMED, "note")
    monkeypatch.setattr(time, "asctime", lambda: "Thu Jan  1 00:00:00 1970")
    assert specification_bytes(TIMED, "note") == now
    assert specification_bytes(TIMED, "another") != now


def test_fields_are_found_by_name_where_time_stamps_shift_them(tmp_path: Path) -> None:
    content = scipy.io.loadmat(saved(tmp_path, TIMED))["dbStruct"]
    assert content.dtype.names[3] == "dbTimeStamp"  # where utmQ's neighbour would be
    found = read_specification(tmp_path / "x.mat")
    assert found.query_positions.tolist() == TIMED.query_positions.tolist()


def test_the_official_struct_by_hand(written: Written) -> None:
    found = read_specification(written())
    assert found.which_set == "val"
    assert (found.database_names, found.query_names) == (["a.jpg", "b.jpg"], ["q.jpg"])
    assert found.database_positions.tolist() == [[1, 3], [2, 4]]
    assert found.query_positions.tolist() == [[5, 6]]
    assert (found.positive_radius_m, found.training_radius_m) == (25, 10)
    assert found.database_times is found.query_times is None


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32, np.float32, np.float64])
def test_radii_do_not_overflow_whatever_number_stores_them(written: Written, kind: type) -> None:
    found = read_specification(written(posDistThr=kind(25), nonTrivPosDistSqThr=kind(225)))
    assert (found.positive_radius_m, found.training_radius_m) == (25.0, 15.0)
    assert type(found.positive_radius_m) is type(found.training_radius_m) is float
    assert found.positive_radius_m**2 == 625.0  # 113 in uint8


def test_a_file_of_ours_stores_small_integers_as_the_official_one(tmp_path: Path) -> None:
    record = scipy.io.loadmat(saved(tmp_path, SMALL))["dbStruct"][0, 0]
    kinds = [record[name].dtype for name in ("posDistThr", "posDistSqThr", "nonTrivPosDistSqThr")]
    assert kinds == [np.uint8, np.uint16, np.uint8]


def test_padding_at_the_end_of_a_name_is_stripped_and_inner_blanks_stay(written: Written) -> None:
    found = read_specification(written(dbImageFns=cell("a b.jpg  ", " c.jpg")))
    assert found.database_names == ["a b.jpg", " c.jpg"]


@pytest.mark.parametrize("content", [b"", b"name,easting,northing\na.jpg,1,2\n", bytes(300)])
def test_a_file_of_another_kind_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.mat").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.mat (cannot be read as a \.mat file|holds no vari)"):
        read_specification(tmp_path / "x.mat")


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_a_sentence(tmp_path: Path, kept: float) -> None:
    whole = specification_bytes(TIMED)
    (tmp_path / "x.mat").write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(UserError, match=r"cannot be read as a \.mat file .* truncated"):
        read_specification(tmp_path / "x.mat")


def test_a_matlab_7_3_file_is_a_sentence_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["dbStruct"] = np.zeros(3)
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
    with path.open("r+b") as file:
        file.write(header)
    with pytest.raises(UserError, match=r"MATLAB 7\.3 file, .*: save it with `-v7` in MATLAB"):
        read_specification(path)


def test_a_bare_hdf5_file_is_a_sentence(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.mat", "w") as file:
        file["dbStruct"] = np.zeros(3)
    with pytest.raises(UserError, match=r"x\.mat cannot be read as a \.mat file"):
        read_specification(tmp_path / "x.mat")


def test_a_file_without_the_struct_names_what_it_holds(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "x.mat", {"clsts": np.eye(2), "other": 1})
    with pytest.raises(UserError, match="holds no variable 'dbStruct', but clsts, other"):
        read_specification(tmp_path / "x.mat")


def test_several_structs_are_a_sentence(tmp_path: Path) -> None:
    records = np.array([(1, 2), (3, 4)], dtype=[("a", object), ("b", object)])
    scipy.io.savemat(tmp_path / "x.mat", {"dbStruct": records})
    with pytest.raises(UserError, match=r"should be one struct .* an array of them .*\(1, 2\)"):
        read_specification(tmp_path / "x.mat")


@pytest.mark.parametrize("names", [np.array(["a b.jpg", "longer/c.jpg"]),
                                   ["a b.jpg", "longer/c.jpg"],
                                   cell("a b.jpg", "longer/c.jpg")])  # fmt: skip
def test_a_struct_written_from_python_reads_by_its_own_names(
    written: Written, names: object
) -> None:
    found = read_specification(written(struct=from_python, dbImage=names))
    assert found.which_set == "test"
    assert (found.database_names, found.query_names) == (["a b.jpg", "longer/c.jpg"], ["q.jpg"])
    assert found.database_positions.tolist() == [[1, 3], [2, 4]]
    assert (found.positive_radius_m, found.training_radius_m) == (25, 10)


def test_a_struct_from_python_without_training_radius_trains_within_its_own(
    written: Written,
) -> None:
    path = written(without="nonTrivPosDistSqThr", struct=from_python)
    assert read_specification(path).training_radius_m == 25


def test_positions_from_python_may_be_a_row_an_image_where_that_is_clear(written: Written) -> None:
    rows = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    changes = {"dbImage": np.array(["a", "b", "c"]), "numDb": np.uint32(3), "utmDb": rows}
    found = read_specification(written(struct=from_python, **changes))
    assert found.database_positions.tolist() == rows.tolist()


def test_a_struct_of_an_unknown_dialect_names_the_fields_it_has(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "x.mat", {"dbStruct": {"places": 3, "photos": 4}})
    with pytest.raises(UserError, match="lacks the field 'dbImageFns'; it has places, photos"):
        read_specification(tmp_path / "x.mat")


@pytest.mark.parametrize("field", ["dbImageFns", "utmQ", "posDistThr", "nonTrivPosDistSqThr"])
def test_a_lacking_field_is_named(written: Written, field: str) -> None:
    with pytest.raises(UserError, match=rf"dbStruct lacks the field '{field}'; it has whichSet, "):
        read_specification(written(without=field))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"struct": from_python, "numDb": 3}, "dbImage has 2 entries, but numDb says 3"),
        ({"numImages": 3}, "dbImageFns has 2 entries, but numImages says 3"),
        ({"numQueries": 5}, "qImageFns has 1 entries, but numQueries says 5"),
        ({"utmDb": np.ones((2, 7))}, "utmDb has 7 entries, but numImages says 2"),
        ({"without": "numQueries", "utmQ": np.ones((2, 3))}, "utmQ has 3 .* qImageFns says 1"),
        ({"dbTimeStamp": np.ones(4)}, "dbTimeStamp has 4 entries, but numImages says 2"),
        ({"qTimeStamp": np.ones(4)}, "qTimeStamp has 4 entries, but numQueries says 1"),
    ],
)
def test_counts_that_disagree_are_named(
    written: Written, changes: dict[str, object], sentence: str
) -> None:
    with pytest.raises(UserError, match=f"counts disagree: {sentence}"):
        read_specification(written(**changes))


@pytest.mark.parametrize(
    "name", ["/etc/passwd.jpg", "../other/a.jpg", "a/../../b.jpg", r"..\a.jpg"]
)
@pytest.mark.parametrize("field", ["dbImageFns", "qImageFns"])
def test_a_name_that_leaves_the_folder_is_refused(written: Written, field: str, name: str) -> None:
    names = cell("a.jpg", name) if field == "dbImageFns" else cell(name)
    with pytest.raises(UserError, match=r"the image name '.*' leaves its folder"):
        read_specification(written(**{field: names}))


def test_a_name_that_only_starts_like_an_option_or_with_dots_is_allowed(written: Written) -> None:
    found = read_specification(written(dbImageFns=cell("-a.jpg", "..b/c.jpg")))
    assert found.database_names == ["-a.jpg", "..b/c.jpg"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"utmDb": np.ones((3, 2))}, r"utmDb should be a 2×N matrix.*\(3, 2\)"),
        ({"utmDb": np.ones((2, 3, 2))}, r"utmDb should be a 2×N matrix.*\(2, 3, 2\)"),
        ({"utmDb": np.array([[1, np.nan], [3, 4]])}, "utmDb is not a finite number at place 1"),
        ({"utmQ": np.array([[np.inf], [3]])}, "utmQ is not a finite number at place 0"),
        (
            {"utmDb": np.array([[1, 1e308], [3, 4]])},
            r"\(row 2 of its side\) is at \[1e\+308",
        ),
        ({"utmQ": np.array([[-2e8], [3]])}, r"\(row 1 of its side\) is at .* within ±1e\+08 m"),
        ({"dbImageFns": cell("a.jpg", "")}, "dbImageFns has an empty name at place 1"),
        ({"dbImageFns": np.ones(2)}, "dbImageFns should be names in a cell array"),
        ({"posDistThr": 0}, "posDistThr should be one positive number"),
        ({"posDistThr": np.nan}, "posDistThr should be one positive number"),
        ({"nonTrivPosDistSqThr": np.ones(2)}, "nonTrivPosDistSqThr should be one positive number"),
        ({"posDistThr": "near"}, "posDistThr should be one positive number"),
        ({"posDistThr": np.inf}, "posDistThr should be one positive number"),
        ({"qTimeStamp": "x"}, "qTimeStamp should hold numbers"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named(
    written: Written, changes: dict[str, object], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        read_specification(written(**changes))


def test_real_names_keep_their_folders_and_leading_dashes(real_spec: Callable[[str], Path]) -> None:
    names = read_specification(real_spec("tokyoTM_val.mat")).database_names
    assert any(name.rpartition("/")[2].startswith("-") or name.startswith("-") for name in names)
    deep = read_specification(real_spec("tokyo247.mat")).database_names
    assert {name.count("/") for name in deep} <= {1, 2, 3}


def test_the_original_centroids_are_no_specification(real_spec: Callable[[str], Path]) -> None:
    with pytest.raises(UserError, match="holds no variable 'dbStruct', but clsts"):
        read_specification(real_spec("pitts30k_train_vd16_conv5_3_preL2_k064_clst.mat"))


def test_a_file_that_unpacks_to_gigabytes_is_refused_at_once(tmp_path: Path) -> None:
    content = mat_bytes({"a": np.zeros(10_000_000)}, "a bomb", compress=True)
    assert len(content) < 2**17
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(UserError, match="it unpacks to far more than its length"):
        read_mat(tmp_path / "a.mat")
