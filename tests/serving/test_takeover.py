"""A map that is rebuilt is taken over whole or not at all, while clients go on asking."""

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import toy
import yaml
from clients import Clients
from evaluated import MODEL, SET, VARIANT, by_another_network, photo
from served import Service, in_a_zone, until

from vprlib.cli.choice import Choice
from vprlib.cli.serving.answering import Asked
from vprlib.cli.serving.maps import Map
from vprlib.cli.serving.pinned import files_of, pin, stamp
from vprlib.cli.serving.recorded import Recorded
from vprlib.pipeline import paths
from vprlib.pipeline.params import UserError

CHOICE = Choice(SET, VARIANT, "full")
OF_DVC = "a6e0b53bd25374983a367f2ccb5cdee2.dir"  # see where it is used


@pytest.fixture
def newer(made_here: Path, tmp_path: Path) -> Path:
    """The same set by another network, in a folder of its own."""
    folder = tmp_path / "newer"
    shutil.copytree(made_here, folder)
    before = Path.cwd()
    os.chdir(folder)
    by_another_network()
    os.chdir(before)
    return folder


def test_a_newer_map_is_taken_over_whole_while_clients_ask(
    made_here: Path, newer: Path, starting: Callable[..., Service]
) -> None:
    in_a_zone(made_here)
    service = starting(made_here)
    descriptors = paths.descriptors(*CHOICE, "db")
    clients = Clients(service, made_here / photo(3), 3)
    until(lambda: len(clients.seen) > 5)
    for path in (MODEL, descriptors):  # as DVC does: what a stage will write is removed first
        (made_here / path).unlink()
        time.sleep(1.3)
        shutil.copyfile(newer / path, made_here / "part")
        (made_here / "part").replace(made_here / path)
        if path == MODEL:
            until(lambda: "another network" in str(service.ask("/v1/maps").json))
    until(lambda: len(clients.versions()) == 2)
    time.sleep(0.3)
    clients.stop()
    assert {status for status, _, _ in clients.seen} == {200}
    by_version = {version: results for _, version, results in clients.seen}
    assert len(by_version) == 2 == len(set(by_version.values()))
    assert all(by_version[version] == results for _, version, results in clients.seen)
    assert clients.versions()[1] == service.ask("/v1/maps").json["maps"][0]["version"]


def a_map(folder: Path) -> Map:
    return Map(CHOICE, folder, stamp(CHOICE))


def test_a_map_keeps_its_files_whatever_becomes_of_them(made_here: Path, tmp_path: Path) -> None:
    held = a_map(tmp_path / "links")
    pixels = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)
    before = held.locate([Asked("a", pixels, 5)])
    for path in files_of(CHOICE):
        path.unlink(missing_ok=True)
    assert held.locate([Asked("a", pixels, 5)]) == before
    del held
    until(lambda: not (tmp_path / "links").exists())


def test_what_is_large_stays_on_the_disk(made_here: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)
    held = a_map(tmp_path / "whole").locate([Asked("a", pixels, 5)])
    tree = yaml.load(Path("params.yaml").read_text(), toy.LOADER)
    tree["runtime"]["memory_gib"] = 1e-5
    toy.write_params(made_here, tree)
    small = a_map(tmp_path / "blocks")
    assert not isinstance(small.rows, np.ndarray)
    found = small.locate([Asked("a", pixels, 5)])
    assert [r["database"] for r in found[0]["results"]] == [
        r["database"] for r in held[0]["results"]
    ]


def recorded(folder: Path) -> dict:
    """What DVC would have recorded of the map and of what comes before."""

    def entry(path: Path) -> dict:
        content = (folder / path).read_bytes()
        return {"path": str(path), "md5": hashlib.md5(content).hexdigest(), "size": len(content)}

    index, descriptors = paths.index(SET, "db"), paths.descriptors(*CHOICE, "db")
    images = {"resize": None, "exif_rotate": True}
    return {
        "parse": {"outs": [entry(index)]},
        "train": {"deps": [entry(index)], "outs": [entry(MODEL)]},
        "extract": {
            "deps": [entry(MODEL), entry(index)],
            "outs": [entry(descriptors)],
            "params": {"params.yaml": {f"datasets.{SET}.images": images}},
        },
    }


def write_lock(stages: dict) -> None:
    Path("dvc.lock").write_text(yaml.dump({"schema": "2.0", "stages": stages}))


def test_a_map_of_one_run_is_read(made_here: Path, tmp_path: Path) -> None:
    write_lock(recorded(made_here))
    assert len(a_map(tmp_path / "links").index) == 12


@pytest.mark.parametrize(
    ("stage_name", "said"),
    [
        ("parse", "train has not yet run with the present data/index"),
        ("train", "extract has not yet run with the present artifacts/models"),
        ("extract", "db.h5 is not the one that dvc.lock has recorded"),
    ],
)
def test_a_map_of_which_a_stage_has_run_anew_is_refused(
    made_here: Path, tmp_path: Path, stage_name: str, said: str
) -> None:
    stages = recorded(made_here)
    for out in stages[stage_name]["outs"]:
        out["md5"] = hashlib.md5(out["path"].encode()).hexdigest()
    write_lock(stages)
    with pytest.raises(UserError, match=said):
        a_map(tmp_path / "links")
    with suppress(FileNotFoundError):
        assert not [path for path in (tmp_path / "links").rglob("*") if path.is_file()]


def test_images_that_are_read_otherwise_now_are_refused(made_here: Path, tmp_path: Path) -> None:
    write_lock(recorded(made_here))
    tree = yaml.load(Path("params.yaml").read_text(), toy.LOADER)
    tree["datasets"][SET]["images"]["resize"] = 40
    toy.write_params(made_here, tree)
    with pytest.raises(UserError, match=rf"datasets.{SET}.images in params.yaml has changed"):
        a_map(tmp_path / "links")


def test_folders_are_compared_as_dvc_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("made/of")
    for name, content in (("b", "1"), ("a/c", "22"), ("a-", "3")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    # what DVC 3.67 records of this folder: `dvc add made/of`
    known = {"path": "made/of", "md5": OF_DVC, "size": 4}
    lock = Recorded({"make": {"outs": [known]}})
    files = [folder / "b", folder / "a/c"]
    assert lock.problem(Path(), files) is None
    (folder / "b").write_text("2")
    assert "made/of is not the one" in str(lock.problem(Path(), files))
    use = {"use": {"deps": [known], "outs": [{"path": "x", "md5": "0", "size": 1}]}}
    parts = {"one": {"outs": [{"path": "made/of/b", "md5": "1", "size": 1}]}}
    assert "use has not yet run" in str(Recorded(use | parts).problem(Path(), [Path("x")]))


def test_links_hold_every_file_of_a_code(made_here: Path, tmp_path: Path) -> None:
    choice = Choice(SET, VARIANT, "ivf")
    pinned = pin(choice, tmp_path / "links")
    assert pinned.coder_path.samefile(paths.coder(VARIANT, "ivf"))
    index = paths.search_index(*choice)
    for path in index.rglob("*"):
        assert (pinned.search_index_path / path.relative_to(index)).samefile(path)
