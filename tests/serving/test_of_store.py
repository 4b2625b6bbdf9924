"""The service answers from a map in Qdrant, and takes another version over between two answers."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clients import Clients
from evaluated import MODEL, QUERIES, SET, VARIANT, by_another_network, photo
from served import ROOT, Service, in_a_zone, running, until

from vprlib.pipeline import paths

pytest.importorskip("fastapi", reason="needs `pip install -e '.[serve]'`")
pytest.importorskip("qdrant_edge", reason="needs `pip install -e '.[qdrant]'`")

PLACE = "maps/city"


def vpr(folder: Path, *arguments: object) -> str:
    command = [sys.executable, "-P", "-m", "vprlib.cli", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def filled(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a map, whose descriptors and images are gone."""
    folder = tmp_path_factory.mktemp("of_store") / "project"
    shutil.copytree(made, folder)
    in_a_zone(folder)
    vpr(folder, "map", "push", PLACE)
    shutil.rmtree(folder / paths.descriptors_dir(SET, VARIANT, "full"))
    return folder


@pytest.fixture(scope="module")
def mapped(filled: Path) -> Iterator[Service]:
    with running(filled, "--map", PLACE) as started:
        yield started


def test_an_answer_is_that_of_find(mapped: Service) -> None:
    answer = mapped.locate(mapped.folder / photo(3), k=4)
    assert answer.status == 200, answer.body
    (expected,) = json.loads(
        vpr(mapped.folder, "find", photo(3), "-k", 4, "--json", "--map", PLACE)
    )
    (given,) = answer.json["answers"]
    assert [r["image"] for r in given["results"]] == [None] * 4
    assert [r["database"] for r in given["results"]] == [r["database"] for r in expected["results"]]
    assert given["estimate"] == pytest.approx(expected["estimate"], abs=1e-5)
    assert given["verdict"].startswith("sure: ")
    told = answer.json["map"]
    assert (told["images"], told["geographic"], len(told["version"])) == (12, True, 12)
    assert mapped.ask("/v1/maps").json["maps"][0]["version"] == told["version"]


def test_near_searches_there_alone(mapped: Service) -> None:
    asked = mapped.folder / photo(3)
    first = mapped.locate(asked, k=1).json["answers"][0]["estimate"]
    near = f"{first['latitude']},{first['longitude']}"
    found = mapped.locate(asked, k=9, near=near, within=35).json["answers"][0]["results"]
    (expected,) = json.loads(
        vpr(
            *(mapped.folder, "find", photo(3), "-k", 9, "--json", "--map", PLACE),
            *("--near", near, "--within", 35),
        )
    )
    assert [r["database"] for r in found] == [r["database"] for r in expected["results"]]
    assert 0 < len(found) < 9
    said = mapped.locate(asked, near="1.5,2.5", within=30)
    assert said.status == 422
    assert said.json["error"] == "no image of the map lies within 30 m of 1.5,2.5."


def test_other_maps_are_refused_in_a_sentence(mapped: Service) -> None:
    said = mapped.locate(mapped.folder / photo(3), code="w4")
    assert said.status == 404 and "answers from one map alone" in said.json["error"]
    assert mapped.locate(mapped.folder / photo(3), code="full").status == 200
    assert mapped.ask(f"/v1/images/{SET}/0123456789ab/3").status == 404


@pytest.mark.slow
def test_versions_are_switched_without_a_mixed_or_failed_answer(
    made_here: Path, starting: Callable[..., Service]
) -> None:
    in_a_zone(made_here)
    vpr(made_here, "map", "push", PLACE)
    service = starting(made_here, "--map", PLACE)
    clients = Clients(service, made_here / photo(3), 3)
    until(lambda: len(clients.seen) > 5)
    by_another_network()
    pushed = vpr(made_here, "map", "push", PLACE)
    second = pushed.split("as version ")[1].split()[0]
    first = clients.versions()[0]
    assert clients.versions() == [first] and first != second
    vpr(made_here, "map", "switch", PLACE, second)
    until(lambda: len(clients.versions()) == 2)
    vpr(made_here, "map", "drop", PLACE, first)
    count = len(clients.seen)
    until(lambda: len(clients.seen) > count + 5)
    clients.stop()
    assert {status for status, _, _ in clients.seen} == {200}
    by_version = {version: results for _, version, results in clients.seen}
    assert [*by_version] == [first, second] and len(set(by_version.values())) == 2
    assert all(by_version[version] == results for _, version, results in clients.seen)


def test_a_version_of_another_network_is_waited_with(
    filled: Path, tmp_path: Path, starting: Callable[..., Service]
) -> None:
    shutil.copytree(filled, tmp_path / "project", symlinks=True)
    service = starting(tmp_path / "project", "--map", PLACE)
    network = tmp_path / "project" / MODEL
    versions = tmp_path / "project" / PLACE / "versions"
    (one,) = versions.iterdir()
    facts = json.loads((one / "facts.json").read_text()) | {"network": "another"}
    from vprlib.stores.facts import Facts

    other = Facts(**facts).version
    shutil.copytree(one, versions / other)
    (versions / other / "facts.json").write_text(json.dumps(facts))
    vpr(tmp_path / "project", "map", "switch", PLACE, other)
    until(lambda: "is of another network than" in str(service.ask("/v1/maps").json))
    assert service.locate(tmp_path / "project" / photo(3)).json["map"]["version"] == one.name
    vpr(tmp_path / "project", "map", "switch", PLACE, one.name)
    until(lambda: service.ask("/v1/maps").json["maps"][0]["waiting"] is None)
    assert network.exists() and (tmp_path / "project" / QUERIES).exists()


def test_a_server_that_goes_away_is_status_503(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastapi.testclient import TestClient

    from vprlib.cli.serving.app import Service as App
    from vprlib.cli.serving.app import new_app
    from vprlib.cli.serving.limits import Limits
    from vprlib.cli.serving.of_store import StoreCatalogue
    from vprlib.stores.address import open_store
    from vprlib.stores.store import UnavailableError

    monkeypatch.chdir(filled)
    service = App(StoreCatalogue(open_store(PLACE), PLACE, (None, None, None)), Limits(20, 50))
    version = service.catalogue.get(None, None, None).opened.version

    def away(*_given: object) -> None:
        raise UnavailableError("http://host:6334 does not answer: start it.")

    monkeypatch.setattr(version, "search", away)
    try:
        client = TestClient(new_app(service, False))
        said = client.post("/v1/locate", files={"photo": photo(3).read_bytes()})
        assert said.status_code == 503 and "does not answer" in said.json()["error"]
    finally:
        service.close()


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("", "the map has no name"),
        ("maps/none", "maps/none has 0 versions, and none of them is live"),
        ("http://127.0.0.1:1/city", "http://127.0.0.1:1 does not answer: start it"),
    ],
)
def test_a_map_that_cannot_be_served_is_a_sentence(filled: Path, place: str, said: str) -> None:
    command = [sys.executable, "-P", "-m", "vprlib.cli", "serve", "--port", "0", "--map", place]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=filled, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and f"error: {said}" in done.stderr
    assert "Traceback" not in done.stderr
