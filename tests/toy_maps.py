"""A small map in a folder or a cluster, and what Faiss finds in it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from vectors import unit

from vprlib.descriptors.quantisers import Coded, Quantiser, learn
from vprlib.descriptors.rows import Rows
from vprlib.search.exact import search_parts
from vprlib.search.request import Neighbors, SearchRequest, collect
from vprlib.stores.facts import SCHEMA, Facts
from vprlib.stores.store import Store

ROWS, QUERIES, DIM = 900, 12, 16
HOMES = ["folder", "cluster"]
KINDS = ["float32", "float16", "int8", "pq", "binary"]
FAILED = np.array([5, 800])
KEPT = np.setdiff1d(np.arange(ROWS), FAILED)
DEGREES = np.stack([15 + np.arange(ROWS) * 1e-4, np.full(ROWS, 40.0)], axis=1)
DEGREES[7] = np.nan
METRES = np.stack([np.arange(ROWS) * 10.0, np.zeros(ROWS)], axis=1)
FACTS = Facts(
    **{"schema": SCHEMA, "made": "now", "network": "n", "code": "c", "images": "i", "places": "p"},
    **{"rows": len(KEPT), "dim": DIM, "precision": "float32", "scale": 1.0},
    **{"described_in": "auto", "read_by": "{}", "is_geographic": True, "has_graph": False},
    **{"dataset": "city", "variant": "trained", "name": "full"},
)


def home(kind: str, folder: Path, name: str = "city") -> Store:
    if kind == "folder":
        from vprlib.stores.embedded import Folder

        return Folder(folder / name)
    import qdrant_client

    from vprlib.stores.cluster import Cluster

    client = qdrant_client.QdrantClient(":memory:")
    return Cluster(client, name, "http://somewhere:6334")


def payloads(rows: np.ndarray) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for row in rows.tolist():
        lon, lat = DEGREES[row].tolist()
        place = {} if np.isnan(lon) else {"place": {"lon": lon, "lat": lat}}
        x, y = METRES[row].tolist()
        found.append({"name": f"{row}.jpg", "x": x, "y": y, **place})
    return found


def sides(kind: str) -> tuple[np.ndarray, Rows, Facts]:
    """Queries that are not rounded, a database of which many rows are equal, and its facts."""
    vectors, queries = unit(ROWS, DIM, 2), unit(QUERIES, DIM, 3)
    vectors[600:] = vectors[:300]
    if kind in ("float32", "float16"):
        return queries, vectors.astype(kind), replace(FACTS, precision=kind)
    quantiser = Quantiser(kind, DIM, learn(kind, [vectors], 4, 1, 1))
    database = Coded(quantiser.encode(vectors), quantiser)
    if kind == "int8":
        scale = float(quantiser.learnt["scale"])
        return queries, database, replace(FACTS, precision="uint8", scale=scale)
    return queries, database, FACTS


def by_faiss(
    queries: np.ndarray, database: Rows, count: int, among: np.ndarray | None = None
) -> Neighbors:
    request = SearchRequest(queries, database, count, 2**28, 1, FAILED, among)
    return collect(search_parts, request)
