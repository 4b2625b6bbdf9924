"""A map in Qdrant: filled, listed, taken over, dropped, and asked by `vpr find --map`."""

import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import toy
import yaml
from evaluated import CODES, INDEX, MODEL, QUERIES, SET, VARIANT, VECTORS, photo, stage

from vprlib.pipeline import paths

pytest.importorskip("qdrant_edge", reason="needs `pip install -e '.[qdrant]'`")
qdrant_client = pytest.importorskip("qdrant_client", reason="needs `pip install -e '.[qdrant]'`")

Vpr = Callable[..., tuple[int, str]]
FOLDER, SERVER = "maps/city", "http://somewhere:6334/city"
HOMES = [FOLDER, SERVER]
ZONE = "33N"


@pytest.fixture
def here(made_here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The evaluated set with all its codes and a zone; a server is the client's local mode."""
    change(zone=ZONE)
    client = qdrant_client.QdrantClient(":memory:")
    monkeypatch.setattr("vprlib.stores.cluster.connect", lambda *_given: client)
    return made_here


def change(zone: str | None = None, **extra: object) -> None:
    tree = yaml.load(Path("params.yaml").read_text(), toy.LOADER)
    tree["codes"] = [*CODES]
    tree["datasets"][SET]["utm_zone"] = zone
    for key, value in extra.items():
        tree["datasets"][SET]["images"][key] = value
    toy.write_params(Path(), tree)


def pushed(vpr: Vpr, place: str = FOLDER, *more: object) -> str:
    """Gives the version."""
    code, said = vpr("map", "push", place, *more)
    assert code == 0, said
    return said.split("as version ")[1].split()[0]


def listed(vpr: Vpr, place: str = FOLDER) -> list[dict]:
    return json.loads(vpr("map", "list", place, "--json")[1])


def rows_of(said: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(said)))


def same(found: str, expected: str) -> bool:
    """Numbers may differ in the last bit of a position."""
    for one, other in zip(rows_of(found), rows_of(expected), strict=True):
        for name, value in one.items():
            if name in ("easting", "northing", "latitude", "longitude"):
                assert float(value) == pytest.approx(float(other[name]), abs=1e-6)
            else:
                assert value == other[name], name
    return bool(found)


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("place", HOMES)
def test_a_map_finds_what_the_files_give(here: Path, vpr: Vpr, place: str, code: str) -> None:
    pushed(vpr, place, "--code", code)
    expected = vpr("find", QUERIES, "-k", 12, "--code", code)[1]
    assert same(vpr("find", QUERIES, "-k", 12, "--map", place)[1], expected)


@pytest.mark.parametrize("place", HOMES)
def test_near_and_box_find_what_the_files_give(here: Path, vpr: Vpr, place: str) -> None:
    pushed(vpr, place)
    with h5py.File(INDEX["db"]) as file:
        from vprlib.places.projection import to_degrees

        degrees = to_degrees(file["positions"][:], ZONE)
    lon, lat = degrees[4]
    south, north = degrees[:, 1].min() - 1e-6, degrees[:, 1].max() + 1e-6
    for options in (
        ("--near", f"{lat:.8f},{lon:.8f}", "--within", 45),
        ("--box", f"{south},{lon - 1e-5},{north},{lon + 5e-4}"),
    ):
        expected = vpr("find", QUERIES, "-k", 12, *options)[1]
        assert 6 < len(rows_of(expected)) < 72
        assert same(vpr("find", QUERIES, "-k", 12, *options, "--map", place)[1], expected)
    Path("near.csv").write_text(f"path,lat,lon\n003/toy_val_q003.jpg,{lat},{lon}\n")
    options = ("--near", "near.csv", "--within", 45)
    found, expected = (vpr("find", QUERIES, *options, *m)[1] for m in (("--map", place), ()))
    assert "5 photographs have no position" in found and "5 photographs have no" in expected
    assert found.splitlines()[1:2] and len(found.splitlines()) == len(expected.splitlines())


def test_one_photograph_is_answered_in_words(here: Path, vpr: Vpr) -> None:
    pushed(vpr)
    code, said = vpr("find", photo(2), "-k", 3, "--map", FOLDER)
    expected = vpr("find", photo(2), "-k", 3)[1]
    assert code == 0 and said.splitlines()[1:] == expected.splitlines()[1:]
    first = f"{photo(2)}: the nearest of 12 images of {SET}, {VARIANT}, full in {FOLDER}"
    assert said.splitlines()[0] == first
    for kind in ("--json", "--geojson"):
        found = vpr("find", photo(2), "--map", FOLDER, kind)[1]
        assert found == vpr("find", photo(2), kind)[1]


def test_a_machine_with_a_map_needs_no_database(here: Path, vpr: Vpr) -> None:
    expected = vpr("find", QUERIES, "-k", 12)[1]
    pushed(vpr)
    for path in (*INDEX.values(), *VECTORS.values()):
        path.unlink()
    assert same(vpr("find", QUERIES, "-k", 12, "--map", FOLDER)[1], expected)


def test_a_set_without_degrees_is_asked_by_metres(here: Path, vpr: Vpr) -> None:
    change(zone=None)
    pushed(vpr)
    with h5py.File(INDEX["db"]) as file:
        positions, names = file["positions"][:], file["names"].asstr()[:]
    x, y = positions[4].tolist()
    inside = np.linalg.norm(positions - positions[4], axis=1) <= 45
    said = vpr(
        "find", photo(2), "-k", 12, "--near", f"{x},{y}", "--within", 45, "--map", FOLDER, "--csv"
    )[1]
    assert {line["database"] for line in rows_of(said)} == set(names[inside]) and inside.sum() < 12
    for option in (("--near", "exif", "--within", 45), ("--box", "1,2,3,4")):
        said = toy.refusal(*vpr("find", photo(2), *option, "--map", FOLDER))
        assert "latitude and longitude of the map are not known: use --near EASTING" in said


def test_images_that_could_not_be_read_are_not_in_the_map(here: Path, vpr: Vpr) -> None:
    with h5py.File(VECTORS["db"], "r+") as file:
        file["failed"][3] = True
    pushed(vpr)
    assert listed(vpr)[0]["rows"] == 11
    assert len(rows_of(vpr("find", photo(2), "-k", 12, "--map", FOLDER, "--csv")[1])) == 11


def newer_network() -> None:
    """The same set by another network."""
    tree = yaml.load(Path("params.yaml").read_text(), toy.LOADER)
    tree["kmeans"]["seed"] = 5
    toy.write_params(Path(), tree)
    MODEL.unlink()
    for name in ("kmeans_centroids", "init_model"):
        stage(name, SET)
    paths.model("off_the_shelf").rename(MODEL)
    stage("extract_db", SET, VARIANT)


@pytest.mark.parametrize("place", HOMES)
def test_a_version_is_pushed_beside_the_live_one(here: Path, vpr: Vpr, place: str) -> None:
    said = vpr("map", "list", place)[1]
    assert f"{place} holds no version: fill it by `vpr map push`" in said
    first = pushed(vpr, place)
    again = vpr("map", "push", place)[1]
    assert f"0 rows of {SET}, {VARIANT}, full as version {first} (12 were there)" in again
    newer_network()
    code, said = vpr("map", "push", place)
    second = said.split("as version ")[1].split()[0]
    assert code == 0 and f"take it over by `vpr map switch {place} {second}`" in said
    said = toy.refusal(*vpr("find", photo(2), "--map", place))
    assert f"the map {place} is of another network than {MODEL}" in said
    told = {one["version"]: (one["is_live"], one["stored"]) for one in listed(vpr, place)}
    assert told == {first: (True, 12), second: (False, 12)}
    assert f"version {first} of" in toy.refusal(*vpr("map", "drop", place, first))
    assert vpr("map", "switch", place, second) == (
        0,
        f"{place}: {second} is live, 12 rows of {SET}, {VARIANT}, full\n",
    )
    assert vpr("find", photo(2), "--map", place)[0] == 0
    assert vpr("map", "drop", place, first) == (0, f"{place}: {first} is removed\n")
    assert [one["version"] for one in listed(vpr, place)] == [second]
    lines = vpr("map", "list", place)[1].splitlines()
    assert lines[0].split() == ["version", "rows", "made", "precision", "of"]
    assert lines[1].split()[:3] == [second, "live", "12"] and len(lines) == 2
    for command in ("switch", "drop"):
        said = toy.refusal(*vpr("map", command, place, first))
        assert f"has no version '{first}': it has {second}" in said


def test_switch_takes_it_over_at_once(here: Path, vpr: Vpr) -> None:
    pushed(vpr)
    assert "is live" in vpr("map", "push", FOLDER, "--code", "w4", "--switch")[1]
    assert sum(one["is_live"] for one in listed(vpr)) == 1
    assert f"{VARIANT}, w4 in {FOLDER}" in vpr("find", photo(2), "--map", FOLDER)[1]


def test_a_graph_answers_where_it_is_asked(here: Path, vpr: Vpr) -> None:
    pushed(vpr)
    said = toy.refusal(*vpr("find", photo(2), "--map", FOLDER, "--approximate"))
    assert f"the map {FOLDER} has no graph for --approximate: leave it out" in said
    pushed(vpr, FOLDER, "--graph", "--switch")
    assert vpr("find", photo(2), "--map", FOLDER, "--approximate")[0] == 0


def other_code(vpr: Vpr) -> tuple[object, ...]:
    return ("--code", "w4")


def other_coder(vpr: Vpr) -> tuple[object, ...]:
    pushed(vpr, FOLDER, "--code", "w4", "--switch")
    shutil.copy(paths.coder(VARIANT, "w8_int8"), paths.coder(VARIANT, "w4"))
    return ()


def other_reading(vpr: Vpr) -> tuple[object, ...]:
    change(zone=ZONE, resize=40)
    return ()


def other_schema(vpr: Vpr) -> tuple[object, ...]:
    (path,) = Path(FOLDER).glob("versions/*/facts.json")
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 9'))
    return ()


def cut_off(vpr: Vpr) -> tuple[object, ...]:
    (Path(FOLDER) / "live").unlink()
    return ()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (other_code, r"is of another code than w4 of trained \(it says full\)"),
        (other_coder, r"is of another code than w4 of trained \(it says w4\)"),
        (other_reading, r"were read by other settings than datasets.toy_val.images"),
        (other_schema, r"was pushed by another version of vprlib \(its schema is 9"),
        (cut_off, r"has 1 versions, and none of them is live: `vpr map switch` to one"),
        (lambda vpr: ("--verify",), "--verify needs the files of the database"),
        (lambda vpr: ("--picture", "a.png"), "--picture needs the files of the database"),
        (lambda vpr: ("--within", 3), "--within needs a place"),
        (
            lambda vpr: ("--near", "1,1", "--within", 3),
            "no image of the map lies within 3 m of 1,1",
        ),
        (lambda vpr: ("--box", "1,1,2,2"), "no image of the map lies in the box 1,1,2,2"),
        (lambda vpr: ("--map", ""), "the map has no name"),
        (lambda vpr: ("--map", "http://h"), "needs a name behind the address, but it lacks one"),
        (lambda vpr: ("--map", "data"), "data is no map: name a folder that `vpr map push` made"),
        (lambda vpr: ("--map", "new"), "new has 0 versions, and none of them is live: fill it"),
    ],
)
def test_a_question_that_the_map_cannot_answer_is_a_sentence(
    here: Path, vpr: Vpr, spoil: Callable[[Vpr], tuple[object, ...]], said: str
) -> None:
    pushed(vpr)
    options = spoil(vpr)
    assert re.search(said, toy.refusal(*vpr("find", photo(2), "--map", FOLDER, *options)))


def test_approximate_without_a_map_is_refused(here: Path, vpr: Vpr) -> None:
    assert "add --map" in toy.refusal(*vpr("find", photo(2), "--approximate"))


def test_descriptors_of_another_network_are_not_pushed(here: Path, vpr: Vpr) -> None:
    with MODEL.open("ab") as file:
        file.write(b" ")
    assert "are of another network than the present trained" in toy.refusal(
        *vpr("map", "push", FOLDER)
    )
    assert not Path(FOLDER).exists()


def test_a_damaged_version_is_listed_with_a_sentence(here: Path, vpr: Vpr) -> None:
    version = pushed(vpr)
    shutil.rmtree(Path(FOLDER) / "versions" / version / "shard")
    code, said = vpr("map", "list", FOLDER)
    assert code == 0 and "cannot be used by Qdrant" in said
