"""A service in a process of its own on a toy set, and how it is asked over HTTP."""

import base64
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import evaluated
import photographs
import toy
import yaml

from vprlib.evaluate.confidence import Calibration
from vprlib.pipeline import paths
from vprlib.pipeline.artifacts import write_json

ROOT = Path(__file__).parents[1]
TOKEN = "a-token-that-is-long-enough"
PLAIN = "plain"
HOSTILE = "<img src=x onerror=alert(1)>"  # a name


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict:
        return json.loads(self.body)


@dataclass
class Service:
    process: subprocess.Popen
    port: int
    folder: Path
    headers: dict[str, str] = field(default_factory=dict)  # of every request

    def ask(
        self,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        method: str | None = None,
        seconds: float = 30,
        chunked: bool = False,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            kind = method or ("GET" if body is None else "POST")
            every = {**self.headers, **(headers or {})}
            connection.request(kind, path, body, every, encode_chunked=chunked)
            found = connection.getresponse()
            told = {name.lower(): value for name, value in found.getheaders()}
            return Answer(found.status, told, found.read())
        finally:
            connection.close()

    def locate(self, *photographs: Path, query: str = "", **fields: object) -> Answer:
        body, headers = form([(path.name, path.read_bytes()) for path in photographs], fields)
        return self.ask(f"/v1/locate{query}", body, headers)

    def stop(self, kind: int = signal.SIGINT) -> tuple[int, str]:
        self.process.send_signal(kind)
        said, _ = self.process.communicate(timeout=20)
        return self.process.returncode, said

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()

    def peak_bytes(self) -> int:
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * int(re.search(r"VmHWM:\s+(\d+)", text)[1])


def form(
    photographs: Sequence[tuple[str, bytes]], fields: Mapping[str, object] | None = None
) -> tuple[bytes, dict[str, str]]:
    """A body of multipart/form-data, and its header."""
    edge = "an-edge-that-no-photograph-holds"
    parts = [
        f'--{edge}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in (fields or {}).items()
    ]
    for name, content in photographs:
        head = f'Content-Disposition: form-data; name="photo"; filename="{name}"'
        parts.append(f"--{edge}\r\n{head}\r\n\r\n".encode() + content + b"\r\n")
    body = b"".join([*parts, f"--{edge}--\r\n".encode()])
    return body, {"Content-Type": f"multipart/form-data; boundary={edge}"}


def start(folder: Path, *options: str, token: str | None = None) -> Service:
    """`vpr serve` on a free port, once it listens."""
    command = [sys.executable, "-P", "-m", "vprlib.cli", "serve", "--port", "0", *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    for line in process.stdout:
        if found := re.search(r"http://\S+:(\d+) answers", line):
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            return Service(process, int(found[1]), folder, headers)
    raise AssertionError(f"ended with {process.wait()}")


@contextmanager
def running(folder: Path, *options: str, token: str | None = None) -> Iterator[Service]:
    started = start(folder, *options, token=token)
    try:
        yield started
    finally:
        started.kill()


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"anyone:{password}".encode()).decode()


def copied(made: Path, folder: Path) -> Path:
    """A project to serve, and a token in it."""
    shutil.copytree(made, folder)
    in_a_zone(folder)
    (folder / "token").write_text(f"{TOKEN}\n")
    return folder


def in_a_zone(folder: Path) -> None:
    """So that the toy set has latitudes, and answers that are sure."""
    tree = yaml.load((folder / "params.yaml").read_text(), toy.LOADER)
    tree["codes"] = [*evaluated.CODES, *evaluated.INDEXED]
    tree["variants"] = [evaluated.VARIANT]
    tree["datasets"][evaluated.SET]["utm_zone"] = "33N"
    toy.write_params(folder, tree)
    known = Calibration("toy_val", {"95": 0.0}, "ratio", 25.0, 20, [])
    write_json(folder / paths.calibration(evaluated.VARIANT, "full"), vars(known))


def with_plain(folder: Path) -> None:
    """Adds a set of a folder whose photographs have no position; one has a hostile name."""
    tree = yaml.load((folder / "params.yaml").read_text(), toy.LOADER)
    preset = yaml.load((ROOT / "presets/photos.yaml").read_text(), toy.LOADER)
    tree["eval_on"] = [evaluated.SET, PLAIN]
    tree["photos"] = {PLAIN: preset["photos"]["photos"]}
    tree["datasets"][PLAIN] = preset["datasets"]["photos"] | {"folder": PLAIN}
    tree["datasets"][PLAIN]["images"]["resize"] = None
    toy.write_params(folder, tree)
    for n, name in enumerate([HOSTILE, *"bcdef"]):
        photographs.write(folder / paths.RAW / PLAIN / f"{name}.jpg", n)
    before = Path.cwd()
    os.chdir(folder)
    for stage, *names in (("list_photos",), ("parse_mat",), ("extract_db", evaluated.VARIANT)):
        evaluated.stage(stage, PLAIN, *names)
    os.chdir(before)


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
