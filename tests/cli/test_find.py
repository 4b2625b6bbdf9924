"""One photograph: the same answer as the pipeline's, printed, in a CSV, and as a picture."""

import csv
import io
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import toy
import yaml
from evaluated import (
    CODES,
    INDEX,
    INDEXED,
    MODEL,
    QUERIES,
    SET,
    VARIANT,
    VECTORS,
    photo,
    predictions,
)
from PIL import Image

from vprlib.cli.finding.answers import answer, as_rows, as_text
from vprlib.descriptors.files import opened
from vprlib.evaluate.confidence import Calibration
from vprlib.pipeline import paths
from vprlib.pipeline.artifacts import write_json

COLUMNS = ["rank", "distance", "score"]
CALIBRATION = paths.calibration(VARIANT, "full")


@pytest.fixture
def refused(made_here, find):
    """A command that must end in one sentence and write nothing."""

    def run(*arguments):
        before = sorted(made_here.rglob("*"))
        said = toy.refusal(*find(*arguments))
        assert sorted(made_here.rglob("*")) == before
        return said

    return run


def read(text):
    return list(csv.DictReader(io.StringIO(text)))


def assert_found(lines, code, row):
    """The CSV has what the pipeline found for a query; gives its rows and distances."""
    with h5py.File(predictions(code)) as file, h5py.File(INDEX["db"]) as index:
        is_found = file["indices"][row] >= 0
        rows, distances = file["indices"][row][is_found], file["distances"][row][is_found]
        names = index["names"].asstr()[:][rows]
    assert [line["database"] for line in lines] == names.tolist()
    printed = [float(line["distance"]) for line in lines]
    # a product with the whitening rounds one row otherwise than many; six decimals are printed
    assert printed == pytest.approx(distances.tolist(), abs=2e-6)
    return rows, distances


def test_a_photograph_is_described_in_the_precision_of_the_database(made_here, find):
    tree = yaml.safe_load(Path("params.yaml").read_text())
    tree["extraction"]["precision"] = "bfloat16"
    toy.write_params(made_here, tree)
    find(photo(3), "-k", 12, "--code", "full", "--out", "found.csv")
    assert_found(read(Path("found.csv").read_text()), "full", 3)


@pytest.mark.parametrize("kept", CODES)
@pytest.mark.parametrize("row", [0, 3, 5])
def test_a_query_of_the_set_finds_what_the_pipeline_found_for_it(made_here, find, row, kept):
    code, _ = find(photo(row), "-k", 12, "--code", kept, "--out", "found.csv")
    found = read(Path("found.csv").read_text())
    indices, _ = assert_found(found, kept, row)
    with h5py.File(INDEX["db"]) as index:
        places = index["positions"][:][indices]
    assert code == 0 and len(found) == 12
    printed = [(float(line["easting"]), float(line["northing"])) for line in found]
    assert printed == list(map(tuple, places.tolist()))


def test_a_code_with_an_index_gives_what_the_index_found_and_no_more(made_here, find):
    _, said = find(photo(3), "-k", 12, "--code", "ivf")
    with h5py.File(predictions("ivf")) as file, h5py.File(predictions("full")) as exact:
        indices, distances = file["indices"][3], file["distances"][3]
        whole = dict(zip(exact["indices"][3].tolist(), exact["distances"][3], strict=True))
    found = [row for row in indices.tolist() if row >= 0]
    assert 0 < len(found) < 12 and np.isinf(distances[len(found) :]).all()
    assert len(said.splitlines()) == 2 + len(found) + 2  # where, and how sure that is
    assert distances[: len(found)].tolist() == [whole[row] for row in found]
    code, said = find(QUERIES, "-k", 12, "--code", "ivf")
    assert code == 0 and len(read(said)) < 6 * 12
    shutil.rmtree(paths.search_index(SET, VARIANT, "ivf"))
    code, said = find(photo(3), "--code", "ivf")
    assert code == 1 and "ivf/index/index.faiss is missing: check that set" in said


def test_an_index_over_rounded_codes_finds_by_what_they_stand_for(made_here, find):
    code, _ = find(photo(3), "-k", 12, "--code", "w8_int8_ivf", "--out", "found.csv")
    found = read(Path("found.csv").read_text())
    rows, distances = assert_found(found, "w8_int8_ivf", 3)
    assert code == 0 and 0 < len(found) < 12 and set(INDEXED) == {"ivf", "w8_int8_ivf"}
    coded = {side: paths.descriptors(SET, VARIANT, "w8_int8_ivf", side) for side in INDEX}
    with opened(coded["db"], 12) as stored, opened(coded["queries"], 6) as asked:
        expected = np.linalg.norm(stored[:] - asked[3:4], axis=1)
    with h5py.File(coded["db"]) as file:
        assert file["descriptors"].dtype == np.int8
    np.testing.assert_allclose(distances, expected[rows], atol=1e-6)


def test_what_is_printed_names_the_set_the_best_images_and_their_places(made_here, find):
    code, said = find(photo(2), "-k", 3)
    lines = said.splitlines()
    assert code == 0 and len(lines) == 2 + 3 + 2
    assert lines[-1].startswith(f"not calibrated: {CALIBRATION} is missing")
    assert lines[0] == f"{photo(2)}: the nearest of 12 images of toy_val (trained, full)"
    assert lines[1].split() == [*COLUMNS, "easting", "northing", "place", "image"]
    for rank, line in enumerate(lines[2:-2], 1):
        first, distance, similar, easting, northing, _, name = line.split()
        assert int(first) == rank and name.endswith(".jpg")
        assert float(similar) == pytest.approx(1 - float(distance) ** 2 / 2, abs=1e-3)
        assert 500_000 <= float(easting) <= 500_154 and northing == "4400000.50"


def calibrated(thresholds, kind="ratio"):
    made = Calibration("toy_train", thresholds, kind, 25.0, 20, [])
    write_json(CALIBRATION, vars(made))
    return made


def test_the_last_line_says_whether_the_answer_is_to_be_believed(made_here, find):
    made = calibrated({"100": 2.0, "95": -1.0})
    said = find(photo(0), "-k", 1)[1].splitlines()
    assert len(said) == 2 + 1 + 2
    assert said[-1].startswith(
        "sure: of answers with a score of at least -1.000, 95 % were right on"
    )
    with h5py.File(predictions("full")) as file, h5py.File(INDEX["db"]) as index:
        found = (file["indices"][:], file["distances"][:])
        scores = made.scores(*found, index["positions"][:])
    assert said[-1].endswith(f"this one has {scores[0]:.3f}")  # as in the pipeline, at -k 1 too
    calibrated({"100": 2.0, "95": 1.5})
    assert find(photo(0))[1].splitlines()[-1] == (
        f"I don't know: the score {scores[0]:.3f} is below 1.500, above which 95 % were right on"
        " toy_train"
    )
    middle = float(np.median(scores))
    calibrated({"100": 2.0, "95": middle})
    rows = read(find(QUERIES, "-k", 2)[1])
    told = [(line["confidence"], line["sure"]) for line in rows[::2]]
    assert [float(c) for c, _ in told] == pytest.approx(scores.tolist(), abs=2e-6)
    expected = np.where(scores >= middle, "95", "no")
    clear = np.abs(scores - middle) > 1e-5
    assert [s for (_, s), c in zip(told, clear, strict=True) if c] == expected[clear].tolist()


def test_thresholds_of_sequences_say_nothing_of_single_photographs(made_here, find):
    write_json(CALIBRATION, vars(replace(calibrated({"95": -1.0}), frames=5)))
    said = find(photo(0))[1].splitlines()[-1]
    assert said == f"not calibrated: {CALIBRATION} is of sequences of 5 frames"


def test_descriptors_of_other_images_are_refused(made_here, refused):
    with h5py.File(VECTORS["db"], "a") as file:
        file.attrs["images"] = "of others"
    assert "or in another order" in refused(photo(0))


def test_a_folder_gives_a_csv_with_every_photograph_and_loads_the_network_once(
    made_here, find, monkeypatch
):
    import vprlib.model.model

    loaded = []
    read_variant = vprlib.model.model.read_variant
    monkeypatch.setattr(
        vprlib.model.model, "read_variant", lambda p: loaded.append(p) or read_variant(p)
    )
    (made_here / QUERIES / ".DS_Store").write_text("hidden")
    code, said = find(QUERIES, "-k", 4)
    assert code == 0 and loaded == [MODEL]
    found = read(said)
    assert [line["photograph"] for line in found[::4]] == [
        str(photo(row).relative_to(QUERIES)) for row in range(6)
    ]
    with h5py.File(predictions("full")) as file:
        assert [f"{d:.6f}" for d in file["distances"][:, :4].ravel()] == [
            line["distance"] for line in found
        ]
    assert find(QUERIES, "-k", 4, "--out", "found.csv") == (0, "")
    assert Path("found.csv").read_text() == said


def test_all_of_a_small_database_is_found_and_no_more(made_here, find):
    assert len(find(photo(0), "-k", 99)[1].splitlines()) == 2 + 12 + 2


def test_the_picture_shows_the_photograph_and_its_results(made_here, find):
    code, _ = find(photo(1), "-k", 6, "--picture", "out/sheet.png")
    sheet = np.asarray(Image.open("out/sheet.png").convert("RGB")).astype(int)
    shown = np.asarray(Image.open(photo(1)).resize((375, 300))).astype(int)
    assert code == 0 and sheet.shape[1] == 400 + 3 * 26 + 5 * 326
    found = sheet[26:326, 26 + 12 : 26 + 12 + 375]
    assert np.abs(found - shown).mean() < 4  # another filter
    assert Image.open("out/sheet.png").height > 2 * 225  # the sixth begins a second row


def test_photographs_become_pixels_as_the_sets_images_do(made_here, find):
    """Upright by EXIF, and resized as datasets.<set>.images says."""
    Path("x").mkdir()
    image = Image.open(photo(0))
    exif = image.getexif()
    exif[0x0112] = 6  # lies on its side: turn it right
    image.rotate(90, expand=True).save("x/turned.png", exif=exif)
    image.save("x/upright.png")
    find("x", "-k", 12, "--out", "found.csv")
    found = read(Path("found.csv").read_text())
    turned, upright = (
        [line["distance"] for line in found if line["photograph"] == f"{name}.png"]
        for name in ("turned", "upright")
    )
    assert turned == upright
    tree = toy.params()
    tree["datasets"]["toy_val"]["images"]["resize"] = 96
    toy.write_params(made_here, tree)
    find("x", "-k", 12, "--out", "found.csv")
    assert [f["distance"] for f in read(Path("found.csv").read_text())][12:] != upright


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty (zero bytes)"),
        (b"no image at all", "is not an image"),
        ("truncated", "is truncated or damaged"),
    ],
)
@pytest.mark.parametrize("asked", ["x", "x/broken.jpg"])
def test_a_photograph_that_cannot_be_read_is_named(made_here, refused, content, problem, asked):
    shutil.copytree(QUERIES / "000", "x")
    good = photo(0).read_bytes()
    Path("x/broken.jpg").write_bytes(good[: len(good) // 2] if content == "truncated" else content)
    said = refused(asked, "--out", "found.csv")
    assert "images below x cannot be used: broken.jpg " + problem in said


def test_a_missing_photograph_and_an_empty_folder_are_named(made_here, refused):
    assert "none.jpg is missing: name a photograph" in refused("none.jpg")
    Path("x").mkdir()
    assert "x holds no photograph" in refused("x")


def test_a_folder_has_no_picture(made_here, refused):
    assert "--picture needs one photograph" in refused(QUERIES, "--picture", "out.png")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--set", "toy_test"], "no set 'toy_test'"),
        (["--variant", "better"], "there is no variant 'better'; there are: off_the_shelf, trai"),
        (["--code", "w9"], "w9"),
    ],
)
def test_what_is_not_there_to_be_searched_is_named(made_here, refused, arguments, problem):
    assert problem in refused(photo(0), *arguments)


def test_a_network_of_other_dimensions_than_the_database_is_refused(made_here, refused):
    with h5py.File(VECTORS["db"], "w") as file:
        file["descriptors"] = np.zeros((12, 7), np.float32)
    assert "gives 768 dimensions, but the descriptors of the database have 7" in refused(photo(0))


def test_a_database_image_that_went_away_leaves_no_picture(made_here, refused):
    shutil.rmtree("data/raw/toy/000")
    assert "is missing since the set was parsed" in refused(
        photo(0), "-k", 12, "--picture", "o.png"
    )


def test_without_a_trained_network_the_last_of_the_switches_is_taken(made_here, refused):
    toy.write_params(made_here, toy.params() | {"variants": ["off_the_shelf"]})
    assert "toy_val/off_the_shelf/full/db.h5 is missing" in refused(photo(0))


def test_unknown_positions_are_left_empty(index_at):
    database = index_at([(np.nan, np.nan), (1.5, 2.0)])
    made = Calibration("toy", {"95": 0.6}, "ratio", 25.0, 20, [])
    found = answer("q.jpg", database, None, [(1, 1.0), (0, 2.0)], 25.0, made, 0.5)
    none = "", "", ""
    assert as_rows([found]) == [
        (
            "q.jpg",
            1,
            "001.jpg",
            "1.000000",
            "0.500000",
            1.5,
            2.0,
            "",
            "",
            "A",
            "",
            "0.500000",
            "no",
        ),
        ("q.jpg", 2, "000.jpg", "2.000000", "-1.000000", *none, "", "B", "", "0.500000", "no"),
    ]
    assert as_text(found).splitlines()[2].split() == [
        "2",
        "2.0000",
        "-1.000",
        *"--",
        "B",
        "000.jpg",
    ]


def test_nothing_heavy_is_loaded_that_a_photograph_does_not_need():
    code = (
        "import sys, vprlib.cli.finding.find; assert 'torch' not in sys.modules; "
        "import vprlib.model.describe, vprlib.model; "
        "sys.exit(bool({'sklearn', 'scipy', 'matplotlib', 'dvc'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=toy.ROOT).returncode == 0


def test_an_image_that_could_not_be_read_is_never_found(made_here, find):
    with h5py.File(VECTORS["db"], "r+") as file:
        file["failed"][3], file["descriptors"][3] = True, 0
    with h5py.File(INDEX["db"]) as index:
        names = index["names"].asstr()[:]
    code, _ = find(photo(1), "-k", 12, "--out", "found.csv")
    found = [line["database"] for line in read(Path("found.csv").read_text())]
    assert code == 0 and sorted(found) == sorted(set(names) - {names[3]})


@pytest.mark.parametrize(
    ("option", "name", "sentence"),
    [
        ("--set", "toy_vall", "params.yaml: there is no set 'toy_vall'; did you mean 'toy_val'?"),
        ("--set", "toy_train", "the set 'toy_train' is not in use: add it to eval_on in params.y"),
        (
            "--set",
            "pitts30k_test",
            "the set 'pitts30k_test' is not in use: type `vpr use pitts30k`",
        ),
        ("--set", "../toy", "params.yaml: there is no set '../toy'; there are: toy_"),
        ("--variant", "trainde", "params.yaml: there is no variant 'trainde'; did you mean 'train"),
        ("--variant", "off_the_shelf", "the variant 'off_the_shelf' is not in use: add it to var"),
        (
            "--variant",
            "int8",
            "the variant 'int8' is not in use: type `vpr use --variants trained,",
        ),
        ("--code", "w8_in8", "params.yaml: there is no code 'w8_in8'; did you mean 'w8_int8'?"),
        ("--code", "w512", "the code 'w512' is not in use: type `vpr use --codes full,w512` and"),
        ("--code", "a\nb", "params.yaml: there is no code 'a\\nb'; there are: "),
    ],
)
@pytest.mark.parametrize("command", ["find", "predictions", "model export", "index sweep"])
def test_a_name_that_does_not_exist_or_is_not_in_use_is_one_sentence(
    made_here, vpr, option, name, sentence, command
):
    shutil.copytree(toy.ROOT / "presets", "presets")
    tree = toy.params() | {"code_defs": CODES, "variants": ["trained"]}
    toy.write_params(made_here, tree)
    more = {"find": [photo(0)], "predictions": ["--out", "x.csv"]}.get(command, [])
    said = toy.refusal(*vpr(*command.split(), *more, option, name))
    assert said.startswith(f"error: {sentence}")


@pytest.mark.parametrize("name", ["a\nb.jpg", "\x1b[31m.jpg", os.fsdecode(b"caf\xe9.jpg")])
def test_a_photograph_whose_name_cannot_be_printed_is_one_sentence(made_here, find, name):
    folder = made_here / "mine"
    folder.mkdir()
    shutil.copy(photo(0), folder / name)
    for asked in (folder, folder / name):
        said = toy.refusal(*find(asked))
        assert "holds a character that cannot be printed: rename the file" in said
        assert said[:-1].isprintable() and said.count("\\") == 1


@pytest.mark.parametrize("option", ["--out", "--picture"])
@pytest.mark.parametrize("place", ["data", "params.yaml/x", "", "/", "x" * 300, "/dev/vprlib-test"])
def test_what_cannot_be_written_is_one_sentence(refused, option, place):
    said = refused(photo(0), option, place)
    assert " could not be written: " in said and len(said) <= 401


@pytest.mark.parametrize("switch", ["eval_on", "variants", "codes"])
@pytest.mark.parametrize("value", [[], None, "full", 3, [None], {"a": 1}])
@pytest.mark.parametrize("command", ["find", "table", "compare", "tradeoffs"])
def test_a_list_of_names_that_is_none_is_one_sentence(made_here, vpr, switch, value, command):
    toy.write_params(made_here, toy.params() | {switch: value})
    more = {"find": [photo(0)], "compare": ["trained", "trained"]}.get(command, [])
    said = toy.refusal(*vpr(command, *more))
    assert said.startswith(f"error: params.yaml: {switch}")
