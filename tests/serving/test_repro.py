"""`dvc repro` while clients ask: each answer is of the old map or of the new one."""

from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
from clients import Clients
from served import Service, until

pytestmark = pytest.mark.slow


def test_a_run_is_taken_over_while_clients_ask(
    tmp_path: Path, starting: Callable[..., Service]
) -> None:
    project = tiny.Project(tmp_path / "project")
    project.dvc("repro")
    folder = project.folder
    service = starting(folder)
    photographs = sorted((folder / "data/raw/city/queries_real/test").rglob("*.jpg"))
    clients = Clients(service, photographs[0], 3)
    until(lambda: len(clients.seen) > 20)
    tree = tiny.params()
    tree["train"]["seed"] = 2
    project.write(tree)
    said = project.dvc("repro")
    assert "extract_db@city_test-trained" in said
    until(lambda: len(clients.versions()) > 1)
    until(lambda: service.ask("/v1/maps").json["maps"][0]["waiting"] is None)
    clients.stop()
    assert {status for status, _, _ in clients.seen} == {200}
    by_version = {version: answer for _, version, answer in clients.seen}
    assert len(by_version) == 2 == len(set(by_version.values()))
    assert all(by_version[version] == answer for _, version, answer in clients.seen)
    service.stop()
    again = starting(folder)  # what a new start answers is what was taken over
    fresh = Clients(again, photographs[0], 1)
    until(lambda: len(fresh.seen) > 2)
    fresh.stop()
    assert fresh.seen[0][2] == by_version[clients.versions()[1]]
