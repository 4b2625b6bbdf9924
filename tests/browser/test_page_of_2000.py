"""All tests of the page once more, on a set of 2,000 queries."""

import pytest
import reported
from browser import test_page
from browser.test_page import *  # noqa: F403

from benchmarks.drawn_results import Size

pytestmark = pytest.mark.slow
SIZE = Size(queries=2000, database=4000, pictures=200, short_side=48)


@pytest.fixture(autouse=True)
def as_many(monkeypatch):
    monkeypatch.setattr(test_page, "QUERIES", SIZE.queries)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn") / "project"
    folder.mkdir()
    reported.make(folder, SIZE)
    return folder


@pytest.fixture(scope="module")
def index(drawn, page_of):
    return page_of(drawn)
