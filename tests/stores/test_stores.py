"""A map in a folder or a cluster finds what Faiss finds, and survives whatever happens to it."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from toy_maps import (
    DEGREES,
    DIM,
    FACTS,
    FAILED,
    HOMES,
    KEPT,
    KINDS,
    QUERIES,
    ROWS,
    by_faiss,
    home,
    payloads,
    sides,
)
from vectors import unit

from vprlib.descriptors.rows import Rows
from vprlib.pipeline.params import UserError
from vprlib.places.projection import metres_from

pytest.importorskip("qdrant_edge", reason="needs `pip install -e '.[qdrant]'`")
qdrant_client = pytest.importorskip("qdrant_client", reason="needs `pip install -e '.[qdrant]'`")

from vprlib.stores import ask, embedded, store  # noqa: E402
from vprlib.stores.area import Area, Ball, Box  # noqa: E402
from vprlib.stores.facts import Facts, read_facts  # noqa: E402
from vprlib.stores.push import Pushed, push  # noqa: E402


def filled(where: store.Store, database: Rows, facts: Facts) -> store.Version:
    version = where.growing(facts)
    assert push(version, database, KEPT, payloads) == Pushed(0, len(KEPT))
    version.close()
    store.switch(where, facts.version)
    return store.open_live(where)


def circle(lon: float, lat: float, metres: float) -> Area:
    def is_inside(places: np.ndarray) -> np.ndarray:
        return metres_from(np.array([lon, lat]), places) <= metres

    return Area(Ball(lat, lon, metres), is_inside, "around")


def box(low: tuple[float, float], high: tuple[float, float], is_metric: bool = False) -> Area:
    def is_inside(places: np.ndarray) -> np.ndarray:
        return ((places >= low) & (places <= high)).all(axis=1)

    return Area(Box(low, high, is_metric), is_inside, "in the box")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", HOMES)
def test_a_map_finds_what_faiss_finds(where: str, kind: str, tmp_path: Path) -> None:
    queries, database, facts = sides(kind)
    version = filled(home(where, tmp_path), database, facts)
    found = ask.nearest(version, queries, 20, [None] * QUERIES).neighbors
    expected = by_faiss(queries, database, 20)
    np.testing.assert_array_equal(found.rows, expected.rows)  # equal ones by row: none is beyond
    np.testing.assert_array_equal(found.distances, expected.distances)
    assert not np.isin(found.rows, FAILED).any()


@pytest.mark.parametrize("kind", ["float32", "int8"])
@pytest.mark.parametrize("where", HOMES)
def test_near_is_the_restricted_exact_search(where: str, kind: str, tmp_path: Path) -> None:
    queries, database, facts = sides(kind)
    version = filled(home(where, tmp_path), database, facts)
    edge_m = float(metres_from(DEGREES[100], DEGREES[130:131])[0])
    areas = {  # the first two end at row 130: a little more, and a little less
        "to the row": circle(*DEGREES[100], edge_m),
        "not to it": circle(*DEGREES[100], edge_m * (1 - 1e-9)),
        "few": circle(*DEGREES[300], 20.0),
        "all": circle(*DEGREES[300], 1e6),
        "none": circle(16.0, 60.0, 10.0),
        "box": box((15.01, 39.9), (15.03, 40.1)),
    }
    degrees = np.where(np.isnan(DEGREES), 1e9, DEGREES)
    for name, area in areas.items():
        found = ask.nearest(version, queries, 20, [area] * QUERIES).neighbors
        among = np.flatnonzero(area.is_inside(DEGREES))
        expected = by_faiss(queries, database, 20, among)
        columns = expected.rows.shape[1]
        np.testing.assert_array_equal(found.rows[:, :columns], expected.rows, name)
        assert (found.rows[:, columns:] == -1).all() and degrees[7, 0] == 1e9
    counts = [len(np.flatnonzero(area.is_inside(DEGREES))) for area in areas.values()]
    assert counts == [61, 59, 5, 899, 0, 201]


@pytest.mark.parametrize("where", HOMES)
def test_a_set_without_degrees_is_searched_by_metres(where: str, tmp_path: Path) -> None:
    queries, database, facts = sides("float32")
    version = filled(home(where, tmp_path), database, replace(facts, is_geographic=False))
    area = box((1000.0, -5.0), (2000.0, 5.0), is_metric=True)
    found = ask.nearest(version, queries, 7, [area] * QUERIES).neighbors
    expected = by_faiss(queries, database, 7, np.arange(100, 201))
    np.testing.assert_array_equal(found.rows, expected.rows)


def test_a_box_may_cross_the_date_line(tmp_path: Path) -> None:
    version = filled(home("folder", tmp_path), *sides("float32")[1:])
    around = (DEGREES[:, 0] >= 15.08) | (DEGREES[:, 0] <= 15.01)
    area = Area(Box((15.08, 39.0), (15.01, 41.0)), lambda p: np.isfinite(p[:, 0]), "in the box")
    found = ask.nearest(version, unit(QUERIES, DIM, 3), 400, [area] * QUERIES).neighbors
    expected = by_faiss(unit(QUERIES, DIM, 3), sides("float32")[1], 400, np.flatnonzero(around))
    columns = expected.rows.shape[1]
    np.testing.assert_array_equal(found.rows[:, :columns], expected.rows)
    assert (found.rows[:, columns:] == -1).all()


def test_queries_have_areas_of_their_own(tmp_path: Path) -> None:
    queries, database, facts = sides("float32")
    version = filled(home("folder", tmp_path), database, facts)
    one, other = circle(*DEGREES[100], 300.0), circle(*DEGREES[500], 300.0)
    areas = [one, None, other] * 4
    found = ask.nearest(version, queries, 5, areas)
    for query, area in enumerate(areas):
        among = None if area is None else np.flatnonzero(area.is_inside(DEGREES))
        expected = by_faiss(queries[query : query + 1], database, 5, among)
        np.testing.assert_array_equal(found.neighbors.rows[query], expected.rows[0])
    assert set(found.payloads) == set(found.neighbors.rows.ravel().tolist())
    assert all(payload["name"] == f"{row}.jpg" for row, payload in found.payloads.items())


def test_many_equal_rows_are_all_looked_at(tmp_path: Path) -> None:
    vectors = np.repeat(unit(9, DIM, 2), 100, axis=0)
    version = filled(home("folder", tmp_path), vectors, FACTS)
    queries = unit(QUERIES, DIM, 3)
    found = ask.nearest(version, queries, 30, [None] * QUERIES).neighbors
    np.testing.assert_array_equal(found.rows, by_faiss(queries, vectors, 30).rows)


def test_a_graph_finds_nearly_all(tmp_path: Path) -> None:
    queries, database, facts = sides("float32")
    version = filled(home("folder", tmp_path), database, replace(facts, has_graph=True))
    expected = by_faiss(queries, database, 5).rows
    found = ask.nearest(version, queries, 5, [None] * QUERIES, exact=False).neighbors.rows
    assert np.mean([len(np.intersect1d(a, b)) for a, b in zip(found, expected, strict=True)]) > 4
    exact = ask.nearest(version, queries, 5, [None] * QUERIES).neighbors.rows
    np.testing.assert_array_equal(exact, expected)


@pytest.mark.parametrize("where", HOMES)
def test_a_push_goes_on_where_it_was_cut_off(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vprlib.stores.push.MOST_ROWS", 100)
    queries, database, facts = sides("float32")
    store_ = home(where, tmp_path)
    version = store_.growing(facts)
    write, calls = version.write, 0

    def failing(*given: object) -> None:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise KeyboardInterrupt
        write(*given)

    monkeypatch.setattr(version, "write", failing)
    with pytest.raises(KeyboardInterrupt):
        push(version, database, KEPT, payloads)
    version.close()
    with pytest.raises(UserError, match=r"has 300 of 898 rows: run the same `vpr map push` again"):
        store.switch(store_, facts.version)
    version = store_.growing(facts)
    assert push(version, database, KEPT, payloads) == Pushed(300, 598)
    assert push(version, database, KEPT, payloads) == Pushed(898, 0)
    np.testing.assert_array_equal(version.stored(), KEPT)
    found = ask.nearest(version, queries, 5, [None] * QUERIES).neighbors
    np.testing.assert_array_equal(found.rows, by_faiss(queries, database, 5).rows)


@pytest.mark.parametrize("where", HOMES)
def test_versions_lie_beside_each_other(where: str, tmp_path: Path) -> None:
    _, database, facts = sides("float32")
    store_, newer = home(where, tmp_path), replace(facts, network="other")
    assert (store_.versions(), store_.live()) == ([], None)
    with pytest.raises(UserError, match="has 0 versions, and none of them is live: fill it by"):
        store.open_live(store_)
    filled(store_, database, facts)
    assert store_.live() == facts.version
    store_.growing(newer).close()
    assert set(store_.versions()) == {facts.version, newer.version}
    assert store.open_live(store_).facts == facts
    for refused in (store.switch, store.drop):
        with pytest.raises(UserError, match=f"has no version 'x': it has .*{facts.version}"):
            refused(store_, "x")
    with pytest.raises(UserError, match=f"{facts.version} of .* is live: `vpr map switch`"):
        store.drop(store_, facts.version)
    push(store_.growing(newer), database, KEPT, payloads)
    store.switch(store_, newer.version)
    assert store.open_live(store_).facts == newer
    store.drop(store_, facts.version)
    assert store_.versions() == [newer.version]


def test_the_version_is_that_of_the_content() -> None:
    assert replace(FACTS, made="later").version == FACTS.version
    assert replace(FACTS, images="other").version != FACTS.version
    assert read_facts(FACTS.as_json(), "a map") == FACTS


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, "a map is no map of vprlib"),
        ({"schema": 2}, r"another version of vprlib \(its schema is 2, this one reads 1\)"),
        (FACTS.as_json() | {"rows": "many"}, r"a map is damaged \(rows: "),
    ],
)
def test_facts_that_are_none_are_refused(found: object, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_facts(found, "a map")


def test_rows_that_the_set_lacks_are_refused(tmp_path: Path) -> None:
    version = home("folder", tmp_path).growing(FACTS)
    version.write(np.array([5]), unit(1, DIM, 1), [{}])
    with pytest.raises(UserError, match="has 1 rows that the set lacks, such as 5"):
        push(version, unit(ROWS, DIM, 2), KEPT, payloads)


def test_vectors_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    vectors = unit(ROWS, DIM, 2)
    vectors[9, 3] = np.nan
    with pytest.raises(UserError, match="descriptor of row 9 is not finite"):
        push(home("folder", tmp_path).growing(FACTS), vectors, KEPT, payloads)


@pytest.mark.parametrize("damage", ["no facts", "text", "no shard", "half a shard"])
def test_a_damaged_folder_is_a_sentence(damage: str, tmp_path: Path) -> None:
    where = home("folder", tmp_path)
    filled(where, sides("float32")[1], FACTS).close()
    folder = tmp_path / "city/versions" / FACTS.version
    if damage == "no facts":
        (folder / "facts.json").unlink()
    elif damage == "text":
        (folder / "facts.json").write_text("what?")
    else:
        name = "edge_config.json" if damage == "no shard" else "segment.json"
        for file in (folder / "shard").rglob(name):
            file.write_text("{")
    with pytest.raises(UserError, match=r"is no version of a map|cannot be read|cannot be used by"):
        where.open(FACTS.version)


def test_a_folder_of_other_things_is_no_map(tmp_path: Path) -> None:
    (tmp_path / "city").mkdir()
    assert home("folder", tmp_path).versions() == []
    (tmp_path / "city/notes.txt").write_text("mine")
    for name in ("city", "city/notes.txt"):
        with pytest.raises(UserError, match=f"{name} is no map: name a folder that"):
            home("folder", tmp_path, name)


def test_a_full_disk_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = home("folder", tmp_path).growing(FACTS)
    monkeypatch.setattr(embedded, "SPARE_BYTES", 2**80)
    with pytest.raises(UserError, match=r"the disk of .* is full .*: make room, and run the same"):
        push(version, unit(ROWS, DIM, 2), KEPT, payloads)


def test_two_pushes_at_once_are_refused(tmp_path: Path) -> None:
    where = home("folder", tmp_path)
    version = where.growing(FACTS)
    with pytest.raises(UserError, match="is being pushed to by another process"):
        where.growing(FACTS)
    version.close()
    where.growing(FACTS).close()


KILLED = """
import sys
from pathlib import Path
from toy_maps import FACTS, KEPT, home, payloads, sides
from vprlib.stores import push
push.MOST_ROWS = 50
version = home("folder", Path(sys.argv[1])).growing(FACTS)
print(len(version.stored()), flush=True)
write = version.write
def told(*given):
    write(*given)
    print("written", flush=True)
version.write = told
push.push(version, sides("float32")[1], KEPT, payloads)
print("whole", flush=True)
"""


def pushing(folder: Path) -> subprocess.Popen:
    paths = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder)],
        env=os.environ | {"PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_push_that_is_killed_goes_on(tmp_path: Path) -> None:
    counts = []
    for batches in (2, 3):
        process = pushing(tmp_path)
        counts.append(int(process.stdout.readline()))
        for _ in range(batches):
            assert process.stdout.readline() == "written\n"
        time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    process = pushing(tmp_path)
    said, _ = process.communicate(timeout=60)
    assert counts[0] == 0 and 100 <= counts[1] < int(said.split()[0]) < len(KEPT)
    assert said.endswith("whole\n")
    queries, database, _ = sides("float32")
    version = home("folder", tmp_path).open(FACTS.version)
    np.testing.assert_array_equal(version.stored(), KEPT)
    found = ask.nearest(version, queries, len(KEPT), [None] * QUERIES)
    np.testing.assert_array_equal(
        found.neighbors.rows, by_faiss(queries, database, ROWS).rows[:, : len(KEPT)]
    )
    for row, expected in zip(KEPT.tolist(), payloads(KEPT), strict=True):
        payload = found.payloads[row]  # the engine's JSON may change the last bit of a number
        assert payload.pop("place", {}) == pytest.approx(expected.pop("place", {}), abs=1e-13)
        assert payload == expected


def test_readers_change_nothing_and_need_no_lock(tmp_path: Path) -> None:
    where = home("folder", tmp_path)
    first = filled(where, sides("float32")[1], FACTS)
    files = {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()}
    second = where.open(FACTS.version)
    for version in (first, second):
        ask.nearest(version, unit(2, DIM, 3), 5, [None, None])
        version.close()
    assert {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()} == files


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ("Failed to open: Permission denied (os error 13)", "must be writable, even to be read"),
        ("No space left on device", r"the disk of .* is full: make room"),
        ("what?", r"cannot be used by Qdrant \(what\?\): drop this version, and push it again"),
    ],
)
def test_what_the_engine_says_is_a_sentence(
    engine: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(_path: str) -> None:
        raise Exception(engine)

    where = home("folder", tmp_path)
    where.growing(FACTS).close()
    monkeypatch.setattr(embedded.edge, "EdgeShard", SimpleNamespace(load=load))
    with pytest.raises(UserError, match=said):
        where.open(FACTS.version)
