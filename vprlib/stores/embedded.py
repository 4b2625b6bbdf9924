"""A map in a folder: a shard of Qdrant for each version, and a link to the live one."""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast
from uuid import UUID

import numpy as np
import qdrant_edge as edge

from vprlib.pipeline.artifacts import write_json
from vprlib.pipeline.explained import explaining
from vprlib.pipeline.params import JsonObject, UserError
from vprlib.stores.area import Area, conditions
from vprlib.stores.facts import Facts, facts_of_file
from vprlib.stores.store import PAGE, Hit

VERSIONS, LIVE, FACTS, SHARD, LOCK = "versions", "live", "facts.json", "shard", "lock"
NAME = re.compile(r"[0-9a-f]{12}")
PACK_BYTES = 2**28  # of vectors that are packed at once: packing holds them twice
SPARE_BYTES = 2**28  # that the disk keeps: a map in memory on a full disk ends the process


class Folder:
    """Versions lie beside each other; readers need no lock."""

    def __init__(self, path: Path) -> None:
        self.path, self.title = path, str(path)
        others = path.exists() and not (path / VERSIONS).is_dir()
        if others and (not path.is_dir() or any(path.iterdir())):
            raise UserError(
                f"{path} is no map: name a folder that `vpr map push` made, or a new one."
            )

    def versions(self) -> list[str]:
        folders = (self.path / VERSIONS).glob("*")
        known = (f for f in folders if NAME.fullmatch(f.name) and (f / FACTS).exists())
        return [f.name for f in sorted(known, key=lambda f: (f / FACTS).stat().st_mtime_ns)]

    def live(self) -> str | None:
        try:
            name = (self.path / LIVE).readlink().name
        except FileNotFoundError:
            return None
        except OSError:
            raise UserError(
                f"{self.path / LIVE} is no link: remove it, and `vpr map switch`."
            ) from None
        return name if name in self.versions() else None

    def open(self, version: str) -> "Shard":
        return Shard(self.path / VERSIONS / version)

    def growing(self, facts: Facts) -> "Shard":
        folder = self.path / VERSIONS / facts.version
        with explaining(folder):
            folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise UserError(
                f"{folder} is being pushed to by another process: wait for it."
            ) from None
        if not (folder / FACTS).exists():
            _check_room(folder)
            with _saying(folder):
                _create(folder / SHARD, facts)
            write_json(folder / FACTS, facts.as_json())  # the shard is there
        return Shard(folder, lock)

    def point(self, version: str) -> None:
        beside = self.path / f".{LIVE}.{os.getpid()}"
        with explaining(self.path / LIVE):
            beside.unlink(missing_ok=True)
            beside.symlink_to(Path(VERSIONS) / version)
            beside.replace(self.path / LIVE)

    def remove(self, version: str) -> None:
        folder = self.path / VERSIONS / version
        with explaining(folder):
            (folder / FACTS).unlink(missing_ok=True)  # first: from here on it is no version
            shutil.rmtree(folder)


def _create(path: Path, facts: Facts) -> None:
    """An empty shard; what a kill has left of one is removed.

    Without the write-ahead log, any number of processes can read. What is flushed is there.
    """
    shutil.rmtree(path, ignore_errors=True)
    kinds = {"float32": "Float32", "float16": "Float16", "uint8": "Uint8"}
    vectors = edge.EdgeVectorParams(
        size=facts.dim,
        distance=edge.Distance.Euclid,
        memory=edge.Memory.Cold,
        datatype=getattr(edge.VectorStorageDatatype, kinds[facts.precision]),
    )
    graph = edge.HnswIndexConfig(
        m=16 if facts.has_graph else 0, ef_construct=100, full_scan_threshold=10
    )
    settings = edge.EdgeConfig(
        vectors=vectors,
        hnsw_config=graph,
        # what is packed stays so: it is not merged again
        optimizers=edge.EdgeOptimizersConfig(indexing_threshold=1, default_segment_number=100_000),
        wal_enabled=False,
    )
    shard = edge.EdgeShard.create(str(path), settings)
    cold = edge.Memory.Cold
    places = edge.GeoIndexParams(memory=cold), edge.FloatIndexParams(memory=cold)
    keys = {"place": places[0]} if facts.is_geographic else dict.fromkeys("xy", places[1])
    for key, kind in keys.items():
        shard.update(edge.UpdateOperation.create_field_index(key, kind))
    shard.flush()
    shard.close()


class Shard:
    """An open version."""

    def __init__(self, folder: Path, lock: int | None = None) -> None:
        self.folder, self._lock = folder, lock
        self._unpacked = 0  # bytes of vectors
        self.facts: Facts = facts_of_file(folder / FACTS)
        if self.facts.version != folder.name:
            raise UserError(f"{folder} holds another version than its name says: push it again.")
        with _saying(folder):
            self._shard = edge.EdgeShard.load(str(folder / SHARD))

    def count(self) -> int:
        with _saying(self.folder):
            return self._shard.count(edge.CountRequest(exact=True))

    def stored(self) -> np.ndarray:
        rows: list[int] = []
        offset: int | UUID | str | None = 0
        with _saying(self.folder):
            while offset is not None:
                page = edge.ScrollRequest(offset=offset, limit=PAGE, with_payload=False)
                found, offset = self._shard.scroll(page)
                rows += [cast(int, record.id) for record in found]
        return np.array(rows, np.int64)

    def write(self, rows: np.ndarray, numbers: np.ndarray, payloads: Sequence[JsonObject]) -> None:
        _check_room(self.folder)
        points = [
            edge.Point(row, vector, payload)
            for row, vector, payload in zip(rows.tolist(), numbers, payloads, strict=True)
        ]
        with _saying(self.folder):
            self._shard.update(edge.UpdateOperation.upsert_points(points))
            self._shard.flush()
        self._unpacked += numbers.nbytes
        if self._unpacked >= PACK_BYTES:
            self.finish()

    def finish(self) -> None:
        """Packs what is not: a million then opens in half a second instead of 30."""
        with _saying(self.folder):
            self._shard.optimize()
            self._shard.flush()
            self._shard.close()  # and gives its memory back
            self._shard = edge.EdgeShard.load(str(self.folder / SHARD))
        self._unpacked = 0

    def search(
        self, numbers: np.ndarray, count: int, area: Area | None, exact: bool
    ) -> list[list[Hit]]:
        chosen = None if area is None else cast(edge.Filter, conditions(area, edge))
        requests = [
            edge.QueryRequest(
                limit=count,
                query=edge.Query.Nearest(vector),
                filter=chosen,
                params=edge.SearchParams(exact=exact),
                with_vector=True,
                with_payload=True,
            )
            for vector in numbers
        ]
        with _saying(self.folder):
            found = self._shard.query_batch(edge.QueryBatchRequest(requests))
        return [[_hit(point) for point in near] for near in found]

    def close(self) -> None:
        with suppress(Exception):
            self._shard.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _hit(point: edge.ScoredPoint) -> Hit:
    numbers = np.asarray(point.vector, np.float32)
    return Hit(cast(int, point.id), point.score, numbers, point.payload or {})


def _check_room(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < SPARE_BYTES:
        raise UserError(
            f"the disk of {folder} is full ({free / 2**20:.0f} MiB left): make room, and run the"
            " same `vpr map push` again, which goes on."
        )


@contextmanager
def _saying(folder: Path) -> Iterator[None]:
    """What Qdrant refuses, in a sentence: its errors have no type of their own."""
    try:
        yield
    except Exception as error:
        said = " ".join(str(error).split())
        remedy = "drop this version, and push it again"
        if "Permission denied" in said:
            raise UserError(
                f"{folder} must be writable, even to be read, since Qdrant opens its files so."
            ) from None
        if "No space left" in said:
            raise UserError(
                f"the disk of {folder} is full: make room, and run `vpr map push` again."
            ) from None
        raise UserError(f"{folder} cannot be used by Qdrant ({said[:200]}): {remedy}.") from None
