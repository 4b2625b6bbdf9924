"""What a server does wrong, or an address, is one sentence."""

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from vprlib.pipeline.params import UserError

pytest.importorskip("qdrant_client", reason="needs `pip install -e '.[qdrant]'`")
grpc = pytest.importorskip("grpc", reason="needs `pip install -e '.[qdrant]'`")

from vprlib.stores import address, cluster  # noqa: E402

Code = grpc.StatusCode


@pytest.fixture
def served() -> Iterator[Callable[..., str]]:
    """A server that answers every call with a status; gives the place of a map on it."""
    servers = []

    def start(code: object, details: str = "no") -> str:
        def refuse(_request: bytes, context: object) -> bytes:
            context.abort(code, details)

        found = SimpleNamespace(
            service=lambda _call: grpc.unary_unary_rpc_method_handler(refuse),
            service_name=lambda: None,
        )
        server = grpc.server(ThreadPoolExecutor(1))
        server.add_generic_rpc_handlers((found,))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return f"http://127.0.0.1:{port}/city"

    yield start
    for server in servers:
        server.stop(None)


@pytest.mark.parametrize(
    ("code", "details", "said"),
    [
        (Code.UNAVAILABLE, "no", "does not answer: start it, or mend the address"),
        (Code.DEADLINE_EXCEEDED, "late", "did not answer in time: try again, or add machines"),
        (Code.UNAUTHENTICATED, "no", "wants another key: put it into QDRANT_API_KEY"),
        (Code.UNIMPLEMENTED, "what?", r"is older than this needs: run Qdrant 1.16 or newer"),
        (Code.RESOURCE_EXHAUSTED, "much", "is full: give it room, and run the command again"),
        (Code.INTERNAL, "No space left on device", r"is full \(No space left on device\): give"),
        (Code.NOT_FOUND, "no", "has no such map or version now: see `vpr map list`"),
        (Code.INVALID_ARGUMENT, "is bad", r"refused \(invalid_argument\): is bad"),
    ],
)
def test_what_a_server_answers_is_a_sentence(
    served: Callable[..., str], code: object, details: str, said: str
) -> None:
    store = address.open_store(served(code, details))
    for ask in (store.versions, store.live, lambda: store.open("0" * 12)):
        with pytest.raises(UserError, match=rf"^http://127.0.0.1:\d+ {said}"):
            ask()


def test_a_server_that_is_away_is_a_sentence() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"http://127.0.0.1:{free.getsockname()[1]}/city"
    with pytest.raises(UserError, match="does not answer: start it, or mend the address"):
        address.open_store(place).versions()


def test_a_server_that_is_slow_is_a_sentence() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        place = f"http://127.0.0.1:{silent.getsockname()[1]}/city"
        with pytest.raises(UserError, match="did not answer in time: try again"):
            address.open_store(place, timeout_s=1).versions()


def test_a_server_without_metadata_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from toy_maps import FACTS, home

    where = home("cluster", tmp_path)
    create = where.client.create_collection
    monkeypatch.setattr(
        where.client, "create_collection", lambda *a, metadata, **k: create(*a, **k)
    )
    with pytest.raises(UserError, match=r"keeps no metadata of a map: run Qdrant 1\.16 or newer"):
        where.growing(FACTS)
    assert where.versions() == []


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("", "the map has no name: name a folder such as maps/city, or an address and a name"),
        ("http://host:6334", "'http://host:6334' needs a name behind the address, but it lacks"),
        ("http://host/a/b", "'a/b' is no name of a map"),
        ("ftp://host/city", "is at no address"),
        ("http://host:x/city", "has no port that is a number"),
        ("http://me:secret@host/city", "holds a password: put the key into QDRANT_API_KEY"),
    ],
)
def test_an_address_that_is_none_is_a_sentence(place: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        address.open_store(place)
    assert "secret" not in str(error.value)


def test_an_address_has_a_port_and_a_name() -> None:
    assert address.parsed("http://host/city") == ("http://host:6334", "city")
    assert address.parsed("https://[::1]:1/a_b-C/") == ("https://[::1]:1", "a_b-C")
    assert cluster.connect("http://host:6334", "key", 5.0) is not None


@pytest.mark.parametrize("place", ["maps/city", "http://host/city"])
def test_a_missing_extra_is_a_sentence(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(
        UserError, match=r"such a map needs qdrant-.*`pip install -e '.\[qdrant\]'`"
    ):
        address.open_store(place)
