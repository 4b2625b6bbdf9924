"""Answers on a map: degrees, the estimate, search around a place, sequences, a second look."""

import csv
import io
import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import toy
import yaml
from evaluated import INDEX, QUERIES, SET, photo
from photographs import exif
from PIL import Image

from vprlib.places.projection import to_degrees

ZONE = "33N"


@pytest.fixture
def located(made_here: Path) -> np.ndarray:
    """The toy set with a zone; gives longitude and latitude of its database."""
    tree = yaml.safe_load((made_here / "params.yaml").read_text())
    tree["datasets"][SET]["utm_zone"] = ZONE
    toy.write_params(made_here, tree)
    with h5py.File(INDEX["db"]) as file:
        degrees = to_degrees(file["positions"][:], ZONE)
    assert degrees is not None
    return degrees


@pytest.fixture
def refused(made_here, find):
    def run(*arguments: object) -> str:
        return toy.refusal(*find(*arguments))

    return run


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def text_of(degrees: np.ndarray) -> str:
    return f"{degrees[1]:.7f},{degrees[0]:.7f}"


def test_an_answer_is_a_place_in_degrees_with_a_link_to_a_map(located, find) -> None:
    lines = find(photo(2), "-k", 3)[1].splitlines()
    assert lines[1].split() == [
        "rank",
        "distance",
        "score",
        "latitude",
        "longitude",
        "place",
        "image",
    ]
    found = json.loads(find(photo(2), "-k", 3, "--json")[1])
    (answer,) = found
    first, told = answer["results"][0], answer["estimate"]
    assert f"here: {told['latitude']:.6f}, {told['longitude']:.6f} (" in lines[-3]
    assert lines[-2] == f"map: {told['map']}"
    assert told["map"].startswith("https://www.openstreetmap.org/?mlat=")
    assert abs(told["latitude"] - first["latitude"]) < 1e-3
    with h5py.File(INDEX["db"]) as file:
        row = file["names"].asstr()[:].tolist().index(first["database"])
    assert (first["longitude"], first["latitude"]) == pytest.approx(located[row], abs=1e-7)


def test_csv_and_geojson_say_the_same_as_json(located, find) -> None:
    rows = read(find(QUERIES, "-k", 4, "--csv")[1])
    answers = json.loads(find(QUERIES, "-k", 4, "--json")[1])
    assert len(rows) == sum(len(a["results"]) for a in answers) == 24
    flat = [(a["photograph"], r) for a in answers for r in a["results"]]
    for row, (name, result) in zip(rows, flat, strict=True):
        assert (row["photograph"], row["database"]) == (name, result["database"])
        assert float(row["latitude"]) == pytest.approx(result["latitude"], abs=1e-6)
        assert row["place"] == result["place"]
    features = json.loads(find(QUERIES, "-k", 4, "--geojson")[1])["features"]
    kinds = [feature["properties"]["kind"] for feature in features]
    assert kinds == (["estimate"] + ["result"] * 4) * 6
    place = features[0]["geometry"]["coordinates"]
    told = answers[0]["estimate"]
    assert place == pytest.approx([told["longitude"], told["latitude"]])
    assert find(QUERIES, "-k", 4, "--geojson", "--out", "x.geojson") == (0, "")
    assert json.loads(Path("x.geojson").read_text())["features"] == features


def test_results_of_one_place_have_one_letter(located, find) -> None:
    (answer,) = json.loads(find(photo(0), "-k", 12, "--json")[1])
    results = answer["results"]
    assert results[0]["place"] == "A"
    at = {r["place"]: [] for r in results}
    for r in results:
        at[r["place"]].append((r["easting"], r["northing"]))
    for places in at.values():
        assert np.linalg.norm(np.array(places) - places[0], axis=1).max() <= 25.0
    assert answer["estimate"]["agree"] == len(at["A"])


@pytest.mark.parametrize("code", ["full", "w8_int8", "w8_binary", "ivf"])
def test_near_a_place_is_the_full_search_without_what_is_far(located, find, code) -> None:
    centre = located[4]
    within = 40.0
    with h5py.File(INDEX["db"]) as file:
        names, positions = file["names"].asstr()[:], file["positions"][:]
    metres = np.linalg.norm(positions - positions[4], axis=1)
    inside = {name for name, far in zip(names, metres, strict=True) if far <= within}
    assert 0 < len(inside) < 12
    whole = find(QUERIES, "-k", 12, "--code", "full" if code == "ivf" else code)[1]
    where = ("--near", text_of(centre), "--within", within)
    found = read(find(QUERIES, "-k", 12, "--code", code, *where)[1])
    kept = [line for line in read(whole) if line["database"] in inside]
    columns = ("photograph", "database", "distance")
    assert [[f[c] for c in columns] for f in found] == [[k[c] for c in columns] for k in kept]


def test_a_box_is_searched_alone(located, find) -> None:
    south, north = np.sort(located[:, 1])[[2, 7]]
    west, east = located[:, 0].min() - 1, located[:, 0].max() + 1
    box = f"{south - 1e-9:.9f},{west},{north + 1e-9:.9f},{east}"
    found = read(find(photo(0), "-k", 12, "--csv", "--box", box)[1])
    expected = (located[:, 1] >= south - 1e-9) & (located[:, 1] <= north + 1e-9)
    assert len(found) == expected.sum() < 12
    over = f"{south - 1},{east - 1e-9:.9f},{north + 1},{west}"  # from there round the earth
    with pytest.raises(AssertionError):
        assert find(photo(0), "--box", over)[0] == 0


def test_each_photograph_may_have_a_rough_position_of_its_own(located, find, tmp_path) -> None:
    Path("asked").mkdir()
    for row in (0, 1):
        image = Image.open(photo(row))
        lat, lon = located[3 * row][::-1]
        image.save(f"asked/{row}.jpg", exif=exif((lat, lon)), quality=95)
    Image.open(photo(2)).save("asked/nowhere.jpg")
    lines = [f"{row}.jpg,{located[3 * row][1]:.8f},{located[3 * row][0]:.8f}" for row in (0, 1)]
    Path("rough.csv").write_text("\n".join(["path,lat,lon", *lines]))
    code, by_exif = find("asked", "-k", 12, "--csv", "--near", "exif", "--within", 30)
    assert code == 0
    found = read(by_exif.split("1 photographs have no")[0])
    assert {line["photograph"] for line in found} == {"0.jpg", "1.jpg"}
    by_table = find("asked", "-k", 12, "--csv", "--near", "rough.csv", "--within", 30)[1]
    assert read(by_table.split("1 photographs have no")[0]) == found
    assert "1 photographs have no position, or no image of the database around them" in by_exif


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--near", "52.5,13.3"], "--near needs a distance in metres above zero: add --within 100"),
        (["--within", 5], "--within needs a place: add --near LAT,LON"),
        (
            ["--near", "52.5,13.3", "--within", 9],
            "lies within 9 m around 52.5,13.3; the nearest is",
        ),
        (["--near", "here", "--within", 9], "--near is 'here', but should be LAT,LON such as"),
        (["--near", "152,13", "--within", 9], "latitude goes from -90 to 90 and comes first"),
        (["--box", "1,2,3"], "--box is '1,2,3', but should be SOUTH,WEST,NORTH,EAST"),
        (["--box", "1,2,3,4"], "no image of the database lies in the box 1,2,3,4"),
        (["--box", "1,2,3,4", "--near", "1,2"], "--near and --box both say where to search"),
        (["--json", "--csv"], "--json and --csv are two formats: leave one out"),
        (["--sequence", 3], "--sequence needs the photographs of a drive: name their folder"),
        (["--sequence", 4], "the photograph asked is the middle one: odd"),
    ],
)
def test_what_cannot_be_asked_is_a_sentence(located, refused, arguments, said) -> None:
    assert said in refused(photo(0), *arguments)


def test_without_a_zone_degrees_are_asked_for(made_here, refused) -> None:
    assert "set datasets.toy_val.utm_zone, such as 17N" in refused(
        photo(0), "--near", "1,2", "--within", 5
    )
    assert "GeoJSON needs degrees" in refused(photo(0), "--geojson")


def test_a_drive_is_asked_by_the_frames_around_each_photograph(located, find, refused) -> None:
    Path("drive").mkdir()
    for row in range(6):
        shutil.copy(photo(row), f"drive/{row}.jpg")
    single = read(find("drive", "-k", 12)[1])
    code, said = find("drive", "-k", 12, "--sequence", 3)
    assert code == 0, said
    several = read(said)
    assert len(several) == len(single)
    assert [line["distance"] for line in several] != [line["distance"] for line in single]
    assert "leave --near and --box out" in refused(
        "drive", "--sequence", 3, "--near", "1,2", "--within", 5
    )
    assert "needs an exact search, but the code ivf has an index" in refused(
        "drive", "--sequence", 3, "--code", "ivf"
    )


def test_a_second_look_reorders_by_inliers(located, find) -> None:
    pytest.importorskip("cv2")
    code, said = find(photo(1), "-k", 12, "--verify")
    lines = said.splitlines()
    assert code == 0 and "inliers" in lines[1]
    assert lines[-1].startswith("not calibrated: artifacts/calibration/inliers/")
    (answer,) = json.loads(find(photo(1), "-k", 12, "--verify", "--json")[1])
    inliers = [r["inliers"] for r in answer["results"]]
    assert inliers == sorted(inliers, reverse=True)
    plain = json.loads(find(photo(1), "-k", 12, "--json")[1])[0]["results"]
    assert sorted(r["database"] for r in plain) == sorted(r["database"] for r in answer["results"])


def test_a_track_and_a_table_beside_photographs_are_told_of_and_not_asked(located, find) -> None:
    shutil.copytree(QUERIES / "000", "drive")
    count = len(list(Path("drive").iterdir()))
    for name in ("walk.gpx", "rough.csv"):
        Path("drive", name).write_text("")
    code, said = find("drive", "-k", 1)
    assert code == 0
    assert "2 files are no images by their names: rough.csv …" in said
    assert said.count(".jpg") >= 2 * count
