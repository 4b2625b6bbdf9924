"""A map on a server of Qdrant or many: a collection for each version, and an alias for the live."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast
from urllib.parse import urlsplit

import grpc
import numpy as np
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

from vprlib.pipeline.params import JsonObject, UserError
from vprlib.stores.area import Area, conditions
from vprlib.stores.facts import DIGITS, Facts, read_facts
from vprlib.stores.store import PAGE, Hit, UnavailableError

FACTS = "vprlib"  # of a collection's metadata
OLDEST = "1.16"  # whose collections have metadata
_FULL = ("No space left", "disk", "Out of memory", "out of memory")
_CODES = {
    grpc.StatusCode.UNAVAILABLE: "does not answer: start it, or mend the address",
    grpc.StatusCode.DEADLINE_EXCEEDED: "did not answer in time: try again, or add machines",
    grpc.StatusCode.UNAUTHENTICATED: "wants another key: put it into QDRANT_API_KEY",
    grpc.StatusCode.PERMISSION_DENIED: "wants another key: put it into QDRANT_API_KEY",
    grpc.StatusCode.UNIMPLEMENTED: f"is older than this needs: run Qdrant {OLDEST} or newer",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "is full: give it room, and run the command again",
}

_LATER = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)


def connect(address: str, key: str | None, timeout_s: float) -> QdrantClient:
    """Over gRPC; nothing is sent yet."""
    parts = urlsplit(address)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a key without TLS
        return QdrantClient(
            host=parts.hostname,
            grpc_port=parts.port or 6334,
            https=parts.scheme == "https",
            prefer_grpc=True,
            api_key=key,
            timeout=max(1, round(timeout_s)),
            check_compatibility=False,
        )


class Cluster:
    """The collections NAME.VERSION, and the alias NAME."""

    def __init__(self, client: QdrantClient, name: str, address: str) -> None:
        self.client, self.name, self.address = client, name, address
        self.title = f"{address}/{name}"

    def versions(self) -> list[str]:
        with saying(self.address):
            every = [one.name for one in self.client.get_collections().collections]
        start = f"{self.name}."
        found = [name[len(start) :] for name in every if name.startswith(start)]
        return sorted(version for version in found if len(version) == DIGITS)

    def live(self) -> str | None:
        with saying(self.address):
            every = self.client.get_aliases().aliases
        names = [one.collection_name for one in every if one.alias_name == self.name]
        return names[0].removeprefix(f"{self.name}.") if names else None

    def open(self, version: str) -> "Collection":
        return Collection(self.client, f"{self.name}.{version}", self.address)

    def growing(self, facts: Facts) -> "Collection":
        name = f"{self.name}.{facts.version}"
        with saying(self.address):
            if not self.client.collection_exists(name):
                _create(self.client, name, facts)
            elif not self.client.get_collection(name).config.metadata:
                raise UserError(
                    f"{self.address} has a collection {name} that is no map: remove it."
                )
            kind = models.PayloadSchemaType
            keys = (
                {"place": kind.GEO} if facts.is_geographic else {"x": kind.FLOAT, "y": kind.FLOAT}
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of the client's local mode
                for key, schema in keys.items():
                    self.client.create_payload_index(name, key, schema)
        return Collection(self.client, name, self.address)

    def point(self, version: str) -> None:
        taken = models.CreateAliasOperation(
            create_alias=models.CreateAlias(
                collection_name=f"{self.name}.{version}", alias_name=self.name
            )
        )
        gone = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=self.name))
        steps: list[models.AliasOperations] = [gone, taken]  # the server does both at once
        if self.live() is None:
            steps = [taken]
        with saying(self.address):
            self.client.update_collection_aliases(steps)

    def remove(self, version: str) -> None:
        with saying(self.address):
            self.client.delete_collection(f"{self.name}.{version}")


def _create(client: QdrantClient, name: str, facts: Facts) -> None:
    vectors = models.VectorParams(
        size=facts.dim,
        distance=models.Distance.EUCLID,
        datatype=models.Datatype(facts.precision),
        on_disk=True,
    )
    client.create_collection(
        name,
        vectors_config=vectors,
        on_disk_payload=True,
        hnsw_config=None if facts.has_graph else models.HnswConfigDiff(m=0),
        metadata={FACTS: facts.as_json()},
    )
    if not client.get_collection(name).config.metadata:
        client.delete_collection(name)
        raise UserError(f"the server keeps no metadata of a map: run Qdrant {OLDEST} or newer.")


class Collection:
    """An open version."""

    def __init__(self, client: QdrantClient, name: str, address: str) -> None:
        self.client, self.name, self.address = client, name, address
        self.title = f"{name} at {address}"
        with saying(address):
            metadata = client.get_collection(name).config.metadata
        self.facts: Facts = read_facts((metadata or {}).get(FACTS), self.title)

    def count(self) -> int:
        with saying(self.address):
            return self.client.count(self.name, exact=True).count

    def stored(self) -> np.ndarray:
        rows: list[int] = []
        offset: models.ExtendedPointId | None = 0
        with saying(self.address):
            while offset is not None:
                found, offset = self.client.scroll(
                    self.name, limit=PAGE, offset=offset, with_payload=False
                )
                rows += [int(record.id) for record in found]
        return np.array(rows, np.int64)

    def write(self, rows: np.ndarray, numbers: np.ndarray, payloads: Sequence[JsonObject]) -> None:
        points = [
            models.PointStruct(id=row, vector=vector, payload=payload)
            for row, vector, payload in zip(rows.tolist(), numbers.tolist(), payloads, strict=True)
        ]
        with saying(self.address):
            self.client.upsert(self.name, points, wait=True)

    def finish(self) -> None:
        """The server builds its graph by itself."""

    def search(
        self, numbers: np.ndarray, count: int, area: Area | None, exact: bool
    ) -> list[list[Hit]]:
        chosen = None if area is None else cast(models.Filter, conditions(area, models))
        requests = [
            models.QueryRequest(
                query=vector,
                limit=count,
                filter=chosen,
                params=models.SearchParams(exact=exact),
                with_vector=True,
                with_payload=True,
            )
            for vector in numbers.tolist()
        ]
        with saying(self.address), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of the client's local mode
            found = self.client.query_batch_points(self.name, requests)
        return [[_hit(point) for point in near.points] for near in found]

    def close(self) -> None:
        """The connection is that of the cluster."""


def _hit(point: models.ScoredPoint) -> Hit:
    numbers = np.asarray(point.vector, np.float32)
    return Hit(int(point.id), point.score, numbers, point.payload or {})


@contextmanager
def saying(address: str) -> Iterator[None]:
    """Why a server did not do it, in a sentence."""
    try:
        yield
    except UserError:
        raise
    except grpc.RpcError as error:
        code = error.code() if hasattr(error, "code") else None
        details = " ".join(str(error.details() if hasattr(error, "details") else error).split())
        kind = UnavailableError if code in _LATER else UserError
        raise kind(f"{address} {_why(code, details)}.") from None
    except UnexpectedResponse as error:
        said = error.content.decode(errors="replace")[:200]
        raise UserError(f"{address} refused ({error.status_code}): {said}.") from None
    except ApiException as error:
        raise UserError(f"{address} does not answer ({str(error)[:100]}): start it.") from None
    except ValueError as error:  # of the client's local mode
        raise UserError(f"{address} refused: {str(error)[:200]}.") from None


def _why(code: "grpc.StatusCode | None", details: str) -> str:
    if any(word in details for word in _FULL):
        return f"is full ({details[:150]}): give it room, and run the command again"
    if code in _CODES:
        return _CODES[code]
    if code == grpc.StatusCode.NOT_FOUND:
        return "has no such map or version now: see `vpr map list`"
    name = "" if code is None else f" ({code.name.lower()})"
    return f"refused{name}: {details[:200]}"
