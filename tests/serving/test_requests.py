"""Damaged requests: each gets one sentence, and none costs memory or reads another file."""

import http.client
import io
import json
import os
import random
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from evaluated import photo
from served import Service, form

CASES = int(os.environ.get("VPRLIB_CAMPAIGN_CASES", 1000))
GROWTH = 2**27  # bytes that the peak of memory may rise over all cases
ODD = [b"", b"\x00", b"-1", b"1e999", b"nan", b"9" * 400, "é".encode(), b"../" * 9 + b"etc/passwd"]
ODD += [b"%00", b"<img src=x onerror=alert(1)>", b"\r\nX-A: b", b"'; --", b"\xff\xfe"]
PATHS = ["/v1/locate", "/v1/maps", "/v1/images/toy_val/x/0", "/static/", "/shared/", "/docs", "/"]
MEANT = {200, 400, 401, 403, 404, 405, 408, 413, 415, 421, 422, 431, 503}


def mutated(rng: random.Random, whole: bytes) -> bytes:
    """Some bytes are changed, cut off, doubled or put in."""
    content = bytearray(whole)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(content) + 1)
        match rng.randrange(4):
            case 0:
                content[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                del content[at : at + rng.choice([1, 20, len(content)])]
            case 2:
                content[at:at] = content[at : at + rng.choice([1, 40])]
            case _:
                content[at:at] = rng.choice(ODD)
    return bytes(content)


def request(rng: random.Random, image: bytes) -> bytes:
    """A whole request, as it goes over the line."""
    fields = {name: "1" for name in ("k", "near", "within", "set", "code", "variant")}
    chosen = {name: rng.choice(ODD).decode("latin1") for name in fields if rng.random() < 0.2}
    content = mutated(rng, image) if rng.random() < 0.5 else image
    body, headers = form([(rng.choice(ODD).decode("latin1"), content)], chosen)
    lines = {
        "Host": "localhost",
        "Connection": "close",
        **headers,
        "Content-Length": str(len(body)),
    }
    if rng.random() < 0.3:
        name = rng.choice([*lines, "Transfer-Encoding", "Expect", "Upgrade", "X" * 70])
        lines[name] = rng.choice([*ODD, b"chunked", b"100-continue", b"websocket"]).decode("latin1")
    path = rng.choice(PATHS) + rng.choice(ODD).decode("latin1") if rng.random() < 0.3 else PATHS[0]
    head = [f"{rng.choice(['POST'] * 9 + ['GET', 'PUT', 'BREW'])} {path} HTTP/1.1"]
    head += [f"{name}: {value}" for name, value in lines.items()]
    whole = "\r\n".join([*head, "", ""]).encode("latin1", "replace") + body
    if rng.random() < 0.2:
        whole = mutated(rng, whole)
    return whole


def answered(service: Service, sent: bytes, cut: int | None) -> bytes:
    """What comes back, if anything does."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as client:
        try:
            client.sendall(sent if cut is None else sent[:cut])
            if cut is not None:
                client.shutdown(socket.SHUT_WR) if cut % 2 else None
                return b""
            found = b""
            while part := client.recv(65536):
                found += part
            return found
        except (ConnectionResetError, BrokenPipeError):
            return b""


def check(sent: bytes, given: bytes) -> None:
    if not given:
        return  # the connection was closed
    answer = http.client.HTTPResponse(Line(given))
    answer.begin()
    body = answer.read()
    assert answer.status in MEANT, (sent[:300], given[-300:])
    assert b"Traceback" not in given and b"root:" not in given
    if answer.status >= 400:
        told = json.loads(body or b'{"error": ""}')  # to HEAD there is no body
        assert [*told] == ["error"] and "\n" not in told["error"]


class Line:
    """What came over the line, for http.client."""

    def __init__(self, given: bytes) -> None:
        self.given = given

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self.given)


def run(service: Service, cases: int, seed: int) -> None:
    image = (service.folder / photo(0)).read_bytes()
    expected = service.locate(service.folder / photo(3)).body
    before = service.peak_bytes()
    for case in range(cases):
        rng = random.Random(f"{seed} {case}")
        sent = request(rng, image)
        cut = rng.randrange(len(sent)) if rng.random() < 0.1 else None
        check(sent, answered(service, sent, cut))
    assert service.process.poll() is None
    assert service.locate(service.folder / photo(3)).body == expected
    assert service.peak_bytes() - before < GROWTH


@pytest.fixture
def alone(place: Path, starting: Callable[..., Service]) -> Service:
    return starting(place, "--max-seconds", "0.3", "--max-mb", "1")


def test_damaged_requests_are_answered_in_one_sentence(alone: Service) -> None:
    run(alone, 120, 1)
    said = alone.stop()[1]
    assert "Traceback" not in said, said[-3000:]


@pytest.mark.slow
def test_many_damaged_requests_are_answered_in_one_sentence(alone: Service) -> None:
    run(alone, CASES, 2)
    said = alone.stop()[1]
    assert "Traceback" not in said, said[-3000:]
