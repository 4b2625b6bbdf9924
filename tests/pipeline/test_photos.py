"""From folders of photographs to an answer in latitude and longitude, stage by stage."""

import json
import pkgutil
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import toy
import yaml
from photographs import HERE, METRE, NOON, walk, write

from vprlib.cli.use import compose
from vprlib.pipeline import paths

DAY = 86400.0
LEARNING = "parse_mat sample_features kmeans_centroids init_model"
RESULT = "photos", "off_the_shelf", "full"


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that lists photographs; gives the folder to put them into."""
    monkeypatch.chdir(toy.ROOT)
    tree = yaml.safe_load(compose((toy.ROOT / "params.yaml").read_text(), "photos", {}))
    monkeypatch.chdir(tmp_path)
    for entry in tree["datasets"].values():
        entry["images"]["resize"] = None
    tree["sample"].update(images=4, positions=9)
    tree["kmeans"].update(clusters=3)
    tree["runtime"].update(device="cpu", workers=1)
    toy.write_params(tmp_path, tree)
    return tmp_path / "data/raw/photos/streets"


@pytest.fixture
def whole(run):
    """Runs every stage; gives what each of them said."""

    def every() -> dict[str, str]:
        said = {stage: run(stage, "photos") for stage in ("list_photos", "parse_mat")}
        for stage in LEARNING.split():
            run(stage, "photos_words")
        for stage in ("extract_db", "extract_queries"):
            said[stage] = run(stage, *RESULT[:2])
        for stage in ("search", "recall", "calibrate", "diagnose"):
            said[stage] = run(stage, *RESULT)
        return said

    return every


def test_two_walks_become_an_answer_on_a_map(photos: Path, whole, find) -> None:
    walk(photos / "monday", 5, NOON, seed=0)
    walk(photos / "tuesday", 5, NOON + DAY, seed=0)  # the same views
    write(photos / "tuesday/lost.jpg", 3)
    said = whole()
    assert "1 without a position are left out" in said["list_photos"]
    assert "10 photographs are asked of the other sessions" in said["list_photos"]
    metrics = json.loads(paths.result_metrics("recall", *RESULT).read_text())
    assert metrics["recall@1"] == 1.0 and metrics["protocol"] == "sessions"
    assert (metrics["new_session@1"], metrics["sessions"]) == (1.0, 2)
    assert metrics["median_error_m"] < 1
    (answer,) = json.loads(find(photos / "monday/0002.jpg", "--json")[1])
    assert {r["database"] for r in answer["results"][:2]} == {
        "streets/monday/0002.jpg",
        "streets/tuesday/0002.jpg",
    }
    told = answer["estimate"]
    assert told["latitude"] == pytest.approx(HERE[0] + 80 * METRE, abs=1e-6)
    assert told["longitude"] == pytest.approx(HERE[1], abs=1e-6)
    assert told["agree"] == 2 and answer["sure"] is not None


def test_a_query_never_finds_its_own_session(photos: Path, whole) -> None:
    walk(photos / "monday", 4, NOON, seed=0)
    walk(photos / "tuesday", 4, NOON + DAY, seed=50)
    whole()
    import h5py

    with h5py.File(paths.neighbors(*RESULT)) as file:
        rows = file["rows"][:]
    with (
        h5py.File(paths.index("photos", "db")) as database,
        h5py.File(paths.index("photos", "queries")) as queries,
    ):
        own = queries["extra/session"].asstr()[:]
        found = database["extra/session"].asstr()[:][rows]
    assert (found[rows >= 0] != own[:, None].repeat(rows.shape[1], 1)[rows >= 0]).all()
    assert ((rows >= 0).sum(axis=1) == 4).all()


@pytest.mark.parametrize("has_gps", [True, False])
def test_one_session_and_plain_folders_answer_without_a_recall(
    photos: Path, whole, run, find, has_gps: bool
) -> None:
    for n, path in enumerate(walk(photos, 4, NOON)):
        if not has_gps:
            write(path, n)
    said = whole()
    assert said["recall"].endswith("no query, so nothing is known\n")
    assert said["diagnose"].endswith("nothing is known of how often it is right\n")
    metrics = json.loads(paths.result_metrics("recall", *RESULT).read_text())
    assert "recall@1" not in metrics
    tree = yaml.safe_load(Path("params.yaml").read_text())
    toy.write_params(Path(), tree | {"rerank_on": ["photos"]})
    run("keypoints", "photos")
    assert ": 0 pairs in " in run("rerank", *RESULT)
    assert run("second_look", *RESULT).endswith("no query, so nothing is known\n")
    code, answer = find(photos / "0001.jpg", "-k", 2)
    assert code == 0 and "streets/0001.jpg" in answer
    assert ("map: https://" in answer) == has_gps
    assert answer.splitlines()[-1] == "I don't know: no score was sure enough on photos"


def test_photographs_that_come_and_go_change_the_list_alone_where_nothing_did(
    photos: Path, run
) -> None:
    walk(photos, 4, NOON)
    run("list_photos", "photos")
    before = paths.photo_list("photos").read_bytes()
    run("list_photos", "photos")
    assert paths.photo_list("photos").read_bytes() == before
    (photos / "0003.jpg").unlink()
    assert "3 photographs" in run("list_photos", "photos")
    assert paths.photo_list("photos").read_bytes() == b"".join(before.splitlines(True)[:-1])
    shutil.copy(photos / "0000.jpg", photos / "0009.jpg")
    assert "4 photographs" in run("list_photos", "photos")


def test_a_broken_photograph_is_left_out_and_said(photos: Path, whole) -> None:
    (path, *_) = walk(photos, 5, NOON)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - 200])  # its header is whole
    said = whole()
    assert "5 photographs" in said["list_photos"]
    assert "1 images that cannot be read" in said["parse_mat"]


GROWN = ("list_photos parse_mat", "extract_db extract_queries")


class Opened:
    """Which photographs are opened by the stages that look at them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        monkeypatch.setattr("vprlib.images.seen.YOUNG_S", -60)  # the tests have just written them
        for module in ("decode", "exif", "batches"):
            for name in ("regular_file", "read_file"):
                place = f"vprlib.images.{module}.{name}"
                try:
                    real = pkgutil.resolve_name(place)
                except AttributeError:
                    continue
                monkeypatch.setattr(place, partial(self.count, real))

    def count(self, real: Callable, path: Path) -> object:
        self.names.append(path.name)
        return real(path)


@pytest.fixture
def grow(photos: Path, run, monkeypatch) -> Callable[[], set[str]]:
    """Runs what a change of the photographs affects; gives which of them were opened."""
    opened = Opened(monkeypatch)

    def again() -> set[str]:
        opened.names.clear()
        for stages, names in zip(GROWN, (RESULT[:1], RESULT[:2]), strict=True):
            for stage in stages.split():
                run(stage, *names)
        return set(opened.names)

    return again


@pytest.fixture
def learnt(photos: Path, run) -> Path:
    """Two walks, of which the network has its words."""
    walk(photos / "monday", 5, NOON, seed=0)
    walk(photos / "tuesday", 5, NOON + DAY, seed=50)
    run("list_photos", "photos")
    for stage in LEARNING.split():
        run(stage, "photos_words")
    run("parse_mat", "photos")
    return photos


def outputs() -> dict[str, bytes]:
    found = [paths.photo_list("photos"), *Path("data/index/photos").iterdir()]
    found += Path("artifacts/descriptors").rglob("*.h5")
    return {str(path): path.read_bytes() for path in found}


def test_photographs_that_come_are_the_only_ones_that_are_opened(learnt: Path, grow) -> None:
    assert len(grow()) == 5  # of a name, monday's and tuesday's: they are described
    assert grow() == set()
    walk(learnt / "monday", 7, NOON, seed=0)  # two more; the others are written anew
    (learnt / "tuesday/0001.jpg").rename(learnt / "tuesday/0009.jpg")
    opened = grow()
    assert {"0005.jpg", "0006.jpg", "0009.jpg"} <= opened
    grown = outputs()
    shutil.rmtree("artifacts/.cache")
    grow()
    assert outputs() == grown


def test_photographs_that_go_make_nothing_else_open(learnt: Path, grow) -> None:
    grow()
    (learnt / "monday/0002.jpg").unlink()
    assert grow() == set()
    smaller = outputs()
    shutil.rmtree("artifacts/.cache")
    grow()
    assert outputs() == smaller
