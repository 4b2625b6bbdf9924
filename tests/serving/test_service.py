"""The service answers as `vpr find` does, and refuses in one sentence what it cannot answer."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from evaluated import CODES, INDEXED, SET, photo
from PIL import Image
from served import PLAIN, ROOT, TOKEN, Service, basic, copied, form, until, with_plain

from vprlib.pipeline import paths

SAFE = {
    "content-security-policy": "default-src 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


@pytest.fixture
def found(
    service: Service, monkeypatch: pytest.MonkeyPatch, vpr: Callable[..., tuple[int, str]]
) -> Callable[..., list[dict]]:
    """What `vpr find --json` prints."""
    monkeypatch.chdir(service.folder)

    def ask(*arguments: object) -> list[dict]:
        code, said = vpr("find", *map(str, arguments), "--json")
        assert code == 0, said
        return json.loads(said)

    return ask


def bare(answer: dict) -> dict:
    """Without what only the service says."""
    results = [{k: v for k, v in r.items() if k != "image"} for r in answer["results"]]
    return {**{k: v for k, v in answer.items() if k != "verdict"}, "results": results}


def is_close(one: object, other: object) -> bool:
    """The same but for the last digits: a photograph alone rounds otherwise than several."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_close(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(is_close, one, other))
    return one == (pytest.approx(other, abs=3e-6) if isinstance(one, float) else other)


def jpeg(width: int, height: int, quality: int = 80) -> bytes:
    noise = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG", quality=quality)
    return file.getvalue()


@pytest.mark.parametrize("code", ["full", "w8_binary", "w8_int8_ivf"])
def test_an_answer_is_that_of_find(
    service: Service, found: Callable[..., list[dict]], code: str
) -> None:
    asked = service.folder / photo(3)
    answer = service.locate(asked, code=code, k=4)
    assert answer.status == 200, answer.body
    (expected,) = found(photo(3), "-k", 4, "--code", code)
    (given,) = answer.json["answers"]
    assert is_close(bare(given), {**expected, "photograph": asked.name})
    assert answer.json["map"] | {"version": ""} == {
        **{"set": SET, "variant": "trained", "code": code, "version": ""},
        **{"images": 12, "geographic": True},
    }


def test_near_searches_there_alone_as_find_does(
    service: Service, found: Callable[..., list[dict]]
) -> None:
    first = service.locate(service.folder / photo(0), k=1).json["answers"][0]["estimate"]
    near = f"{first['latitude']},{first['longitude']}"
    (expected,) = found(photo(3), "-k", 9, "--near", near, "--within", 30)
    answer = service.locate(service.folder / photo(3), k=9, near=near, within=30)
    assert is_close(bare(answer.json["answers"][0]), {**expected, "photograph": photo(3).name})
    assert 0 < len(expected["results"]) < 9
    said = service.locate(service.folder / photo(3), near="1.5,2.5", within=30)
    assert said.status == 422 and "no image of the map lies within 30 m" in said.json["error"]


def test_several_photographs_are_answered_in_order(service: Service) -> None:
    every = [service.folder / photo(row) for row in (5, 0, 3)]
    together = service.locate(*every).json["answers"]
    alone = [service.locate(one).json["answers"][0] for one in every]
    assert is_close(together, alone)


def test_many_clients_at_once_get_their_own_answers(service: Service) -> None:
    every = [service.folder / photo(row) for row in range(6)] * 8
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(service.locate, every))
    for path, answer in zip(every, answers, strict=True):
        assert answer.status == 200
        (given,) = answer.json["answers"]
        assert given["photograph"] == path.name
        assert (
            given["results"][0]["database"]
            == answers[every.index(path)].json["answers"][0]["results"][0]["database"]
        )


def test_one_image_may_be_the_whole_body(service: Service) -> None:
    path = service.folder / photo(3)
    body = path.read_bytes()
    answer = service.ask("/v1/locate?k=3", body, {"Content-Type": "image/jpeg"})
    (expected,) = service.locate(path, k=3).json["answers"]
    assert is_close(answer.json["answers"], [{**expected, "photograph": "photograph"}])


def test_an_answer_says_how_sure_it_is(service: Service) -> None:
    (sure,) = service.locate(service.folder / photo(3)).json["answers"]
    assert sure["sure"] == "95" and sure["verdict"].startswith("sure: ")
    (other,) = service.locate(service.folder / photo(3), code="w4").json["answers"]
    assert other["sure"] is None and other["verdict"].startswith("not calibrated: ")


def test_pictures_are_those_of_the_database(service: Service) -> None:
    (answer,) = service.locate(service.folder / photo(3), k=1).json["answers"]
    (result,) = answer["results"]
    picture = service.ask(result["image"])
    assert (picture.status, picture.headers["content-type"]) == (200, "image/jpeg")
    shown = np.asarray(Image.open(io.BytesIO(picture.body)), float)
    stored = Image.open(service.folder / "data/raw/toy" / result["database"]).convert("RGB")
    assert np.abs(shown - np.asarray(stored, float)).mean() < 12
    place = result["image"].rpartition("/")[0]
    for wrong in ("12", "-1", "x", "1e3", "9" * 30, "..%2f..%2fparams.yaml", "%00"):
        assert service.ask(f"{place}/{wrong}").status == 404
    said = service.ask(f"/v1/images/{SET}/0123456789ab/0")
    assert (said.status, said.json["error"]) == (404, "The map has been replaced since: ask again.")


def test_maps_are_listed(service: Service) -> None:
    told = service.ask("/v1/maps").json
    assert told["default"] == {"set": SET, "variant": "trained", "code": "full"}
    codes = {one["code"] for one in told["maps"]}
    assert codes == {*CODES, *INDEXED}
    (own,) = (one for one in told["maps"] if one["code"] == "full")
    assert own["images"] == 12 and own["waiting"] is None and own["geographic"]


def test_of_maps_that_were_not_asked_yet_it_is_known_whether_they_have_degrees(
    made: Path, tmp_path: Path, starting: Callable[..., Service]
) -> None:
    folder = copied(made, tmp_path / "project")
    with_plain(folder)
    service = starting(folder, "--code", "w4")
    maps = {(one["set"], one["code"]): one for one in service.ask("/v1/maps").json["maps"]}
    told = {"images": 12, "geographic": True}
    assert maps[SET, "full"].items() >= told.items() and "since" not in maps[SET, "full"]
    assert maps[PLAIN, "full"].items() >= {"images": 6, "geographic": False}.items()
    assert service.locate(folder / photo(3), set=PLAIN, code="full").status == 200
    (plain,) = (one for one in service.ask("/v1/maps").json["maps"] if one["set"] == PLAIN)
    assert (plain["images"], plain["geographic"], plain["waiting"]) == (6, False, None)
    (folder / paths.index(SET, "db")).write_bytes(b"half a file")
    maps = {(one["set"], one["code"]): one for one in service.ask("/v1/maps").json["maps"]}
    assert "geographic" not in maps[SET, "full"] and maps[SET, "w4"]["geographic"]


def test_its_documents_are_there_and_need_nothing_from_elsewhere(service: Service) -> None:
    schema = service.ask("/openapi.json").json
    assert {"/v1/locate", "/v1/health", "/v1/maps"} < {*schema["paths"]}
    docs = service.ask("/docs")
    assert docs.status == 200 and b"/v1/locate" in docs.body
    assert b"<script" not in docs.body and b"cdn" not in docs.body


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "said"),
    [
        ("/v1/nothing", None, {}, 404, "There is nothing at this address"),
        ("/../../etc/passwd", None, {}, 404, "There is nothing"),
        ("/static/..%2f..%2fcommand.py", None, {}, 404, "There is nothing"),
        ("/shared/css/../../../command.py", None, {}, 404, "There is nothing"),
        ("/v1/locate", None, {}, 405, "does not take such a request"),
        ("/v1/locate", b"x", {}, 415, "Send a form"),
        ("/v1/locate", b"x", {"Content-Type": "application/json"}, 415, "Send a form"),
        ("/v1/locate", b"", {"Content-Type": "image/jpeg"}, 422, "is empty"),
        ("/v1/locate", b"no image", {"Content-Type": "image/jpeg"}, 422, "is not an image"),
        ("/v1/locate", b"x", {"Content-Type": "multipart/form-data"}, 400, "cannot be read"),
        ("/v1/locate", *form([]), 422, "no part named photo"),
        ("/v1/locate", *form([], {"photo": "x"}), 422, "The part photo holds no file"),
        ("/v1/locate", *form([("a.jpg", jpeg(9, 9))], {"k": "0"}), 422, "from 1 to 50"),
        ("/v1/locate", *form([("a.jpg", jpeg(9, 9))], {"k": "²"}), 422, "from 1 to 50"),
        ("/v1/locate", *form([("a.jpg", jpeg(9, 9))], {"deep": "1"}), 422, "no field 'deep'"),
        ("/v1/locate", *form([("a.jpg", b"x")], {"near": "1,2"}), 422, "belong together"),
        ("/v1/locate", *form([("a.jpg", b"x")], {"near": "nan,2", "within": 5}), 422, "LAT,LON"),
        ("/v1/locate", *form([("a.jpg", b"x")], {"near": "1,2", "within": "-1"}), 422, "above"),
        ("/v1/locate", *form([("a.jpg", b"x")], {"near": "/etc", "within": 5}), 422, "LAT,LON"),
        ("/v1/locate", *form([("a.jpg", b"x")], {"set": "../x"}), 422, "set should be a name"),
        ("/v1/locate", *form([("a.jpg", b"x")], {"code": "w9"}), 404, "there is no code 'w9'"),
        ("/v1/locate", *form([("a\nb.jpg", b"x")]), 422, "is not an image"),
    ],
)
def test_a_bad_request_gets_one_sentence(
    service: Service,
    path: str,
    body: bytes | None,
    headers: dict[str, str],
    status: int,
    said: str,
) -> None:
    answer = service.ask(path, body, headers)
    assert (answer.status, answer.headers["content-type"]) == (status, "application/json")
    assert [*answer.json] == ["error"] and said in answer.json["error"]
    assert "\n" not in answer.json["error"] and "Traceback" not in answer.json["error"]
    for name, value in SAFE.items():
        assert answer.headers[name].startswith(value)


def test_other_names_and_other_sites_are_not_answered(service: Service) -> None:
    assert service.ask("/v1/maps", headers={"Host": "evil.example:80"}).status == 421
    assert service.ask("/v1/maps", headers={"Host": f"localhost:{service.port}"}).status == 200
    body, headers = form([("a.jpg", jpeg(9, 9))])
    assert (
        service.ask("/v1/locate", body, {**headers, "Sec-Fetch-Site": "cross-site"}).status == 403
    )


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/openapi.json", "/v1/maps", "/static/x", "/nothing"]
)
def test_with_a_token_nothing_but_health_answers_without_it(guarded: Service, path: str) -> None:
    for given in ("", "Bearer ", f"Bearer {TOKEN}x", "Bearer é", f"Basic {TOKEN}", basic("other")):
        answer = guarded.ask(path, headers={"Authorization": given})
        assert answer.status == 401 and "token" in answer.json["error"]
        assert "Basic" in answer.headers["www-authenticate"]
    assert guarded.ask(path, headers={"Authorization": basic(TOKEN)}).status != 401
    assert guarded.ask(path).status != 401
    told = guarded.ask("/v1/health", headers={"Authorization": ""})
    assert (told.status, told.json) == (200, {"status": "ok", "needs_token": True})


def test_a_photograph_needs_the_token_before_it_is_read(guarded: Service) -> None:
    body, headers = form([("a.jpg", jpeg(9, 9))])
    answer = guarded.ask("/v1/locate", body, {**headers, "Authorization": "Bearer no"})
    assert answer.status == 401


def bomb(width: int, height: int) -> bytes:
    """A PNG that says it is large, and holds nothing."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_a_bomb_is_refused_by_its_header(guarded: Service) -> None:
    before = guarded.peak_bytes()
    for size in ((1001, 1000), (30_000, 30_000), (2**31 - 1, 2**31 - 1), (900_000, 1)):
        body, headers = form([("bomb.png", bomb(*size))])
        answer = guarded.ask("/v1/locate", body, headers)
        assert answer.status == 422, size
    assert guarded.peak_bytes() - before < 2**25


def test_long_requests_are_refused(guarded: Service) -> None:
    body, headers = form([("a.jpg", b"x" * 400_000)])
    answer = guarded.ask("/v1/locate", body, headers)
    assert (answer.status, answer.json["error"]) == (413, "A request may have 0.3 MB at most.")

    def parts():
        for _ in range(20):
            yield b"x" * 50_000

    headers = {"Content-Type": "image/jpeg", "Transfer-Encoding": "chunked"}
    try:
        status = guarded.ask("/v1/locate", parts(), headers, "POST", chunked=True).status
    except OSError:  # closed before all was sent
        status = 413
    assert status == 413
    assert guarded.ask("/v1/health").status == 200


def test_what_does_not_fit_the_queue_is_told_to_come_again(guarded: Service) -> None:
    every = [guarded.folder / photo(row) for row in range(4)]
    answer = guarded.locate(*every)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert "try again" in answer.json["error"]
    assert guarded.locate(*every[:3]).status == 200


@pytest.mark.parametrize("sent", [b"", b"GET /v1/maps HTTP/1.1\r\nHost: x\r\nX-A: "])
def test_a_client_that_says_nothing_is_cut_off(guarded: Service, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", guarded.port)) as client:
        client.sendall(sent)
        client.settimeout(6)
        assert client.recv(100) == b""


def test_a_client_that_sends_too_slowly_is_told(guarded: Service) -> None:
    head = f"POST /v1/locate HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
    head += "Content-Type: image/jpeg\r\nContent-Length: 1000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", guarded.port)) as client:
        client.sendall(head.encode() + b"xy")
        client.settimeout(8)
        assert client.recv(4000).startswith(b"HTTP/1.1 408")


def test_a_client_that_goes_away_is_forgotten(guarded: Service) -> None:
    head = f"POST /v1/locate HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
    head += "Content-Type: image/jpeg\r\nContent-Length: 200000\r\n\r\n"
    for _ in range(30):  # more bytes than there is room for, if they were not given back
        with socket.create_connection(("127.0.0.1", guarded.port)) as client:
            client.sendall(head.encode() + b"xy")
    time.sleep(0.2)
    assert guarded.locate(guarded.folder / photo(0)).status == 200


def test_what_is_not_http_is_refused_as_json(service: Service) -> None:
    with socket.create_connection(("127.0.0.1", service.port)) as client:
        client.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        client.settimeout(5)
        given = client.recv(4000)
        assert given.startswith(b"HTTP/1.1 400") and b"not valid HTTP" in given


def test_it_ends_when_asked_and_leaves_nothing(
    place: Path, starting: Callable[..., Service]
) -> None:
    one = starting(place)
    scratch = place / "artifacts/.scratch" / f"serve-{one.process.pid}"
    assert scratch.exists()
    code, said = one.stop()
    assert (code, said) == (0, "stopped\n") and not scratch.exists()


@pytest.mark.slow
def test_killed_it_starts_again_and_clears_up(
    place: Path, starting: Callable[..., Service]
) -> None:
    one = starting(place)
    one.stop(signal.SIGKILL)
    left = place / "artifacts/.scratch" / f"serve-{one.process.pid}"
    assert left.exists()
    again = starting(place)
    assert again.locate(place / photo(0)).status == 200 and not left.exists()


def test_a_port_in_use_is_one_sentence(place: Path, service: Service) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "vprlib.cli", "serve", "--port", str(service.port)],
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr == f"error: port {service.port} is in use: choose another by --port.\n"


def test_clients_that_give_up_do_not_hold_up_others(service: Service) -> None:
    every = [(path.name, path.read_bytes()) for path in [service.folder / photo(0)] * 16]
    body, headers = form(every)
    for _ in range(8):
        with socket.create_connection(("127.0.0.1", service.port)) as client:
            lines = [f"{name}: {value}" for name, value in headers.items()]
            head = ["POST /v1/locate HTTP/1.1", "Host: 127.0.0.1", *lines]
            head.append(f"Content-Length: {len(body)}")
            client.sendall("\r\n".join([*head, "", ""]).encode() + body)
    until(lambda: service.locate(service.folder / photo(0)).status == 200)
