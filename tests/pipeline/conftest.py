"""The tiny city, run once for all files of tests that edit it."""

import fcntl
import os
import shutil

import pytest
import tiny


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A project of the file's own, run with its default parameters.

    The first process that needs it runs it, the other copies that.
    """
    own = tmp_path_factory.mktemp("reruns") / "project"
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "built"
    with shared.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not shared.exists():
            project = tiny.Project(own)
            ran = project.repro()
            assert {"check_switches", "make_city@test", "train@city_train"} <= ran
            shutil.copytree(own, shared, symlinks=True)
            return project
    shutil.copytree(shared, own, symlinks=True)
    return tiny.existing(own)


@pytest.fixture
def project(built):
    """Back at the defaults after each test, from the run cache alone."""
    yield built
    built.write(tiny.params())
    assert built.repro() == set()
