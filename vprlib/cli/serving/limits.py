"""What a request may ask for, and reading its photographs within that, in memory alone."""

import asyncio
import math
import re
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from vprlib.cli.finding.around import number_pair

MOST_RESULTS = 50
FIELDS = ("set", "variant", "code", "k", "near", "within")
NAMED = 200  # characters of a name that an answer repeats


@dataclass(frozen=True)
class Limits:
    """Of one request, and of all that are being answered."""

    megabytes: float = 20.0  # of a request
    megapixels: float = 50.0  # of a photograph
    photographs: int = 16  # of a request
    seconds: float = 30.0  # to send a request, and to wait for its answer
    queue: int = 64  # photographs that wait

    @property
    def bytes(self) -> int:
        return int(self.megabytes * 1e6)

    @property
    def pixels(self) -> int:
        return int(self.megapixels * 1e6)


class RefusedError(Exception):
    """A request that is answered by one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


@dataclass(frozen=True)
class Upload:
    """Photographs by name, and the fields of a request."""

    photographs: list[tuple[str, bytes]]
    fields: Mapping[str, str]


@dataclass
class Room:
    """Bytes and photographs that are held for requests; what does not fit is refused at once."""

    limits: Limits
    bytes: int = 0
    photographs: int = 0

    @contextmanager
    def holding(self, photographs: int = 0, size: int = 0) -> Iterator[None]:
        most = max(8 * self.limits.bytes, 2**27)
        if self.photographs + photographs > self.limits.queue or self.bytes + size > most:
            raise RefusedError(503, "Too many photographs are waiting: try again in a moment.")
        self.photographs += photographs
        self.bytes += size
        try:
            yield
        finally:
            self.photographs -= photographs
            self.bytes -= size


class _InMemory(MultiPartParser):
    spool_max_size = 2**62  # nothing goes to the disk


async def read(request: Request, limits: Limits) -> Upload:
    """A form with parts `photo`, or one image as the whole body, with fields in the address."""
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length[:18]) > limits.bytes:
        raise _too_long(limits)
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    try:
        async with asyncio.timeout(limits.seconds):
            if kind == "multipart/form-data":
                return await _form(request, limits)
            if kind.startswith("image/") or kind == "application/octet-stream":
                content = b"".join([part async for part in _stream(request, limits)])
                return Upload([("photograph", content)], dict(request.query_params))
    except TimeoutError:
        raise RefusedError(
            408, f"The request took longer than {limits.seconds:g} seconds."
        ) from None
    except ClientDisconnect:
        raise RefusedError(400, "The request ended before it was whole.") from None
    raise RefusedError(
        415, "Send a form (multipart/form-data) with parts named photo, or one image (image/jpeg)."
    )


async def _form(request: Request, limits: Limits) -> Upload:
    parser = _InMemory(
        request.headers,
        _stream(request, limits),
        max_files=limits.photographs,
        max_fields=20,
        max_part_size=10_000,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise RefusedError(400, f"The form cannot be read: {error.message}") from None
    except (KeyError, ValueError, AssertionError):
        raise RefusedError(400, "The form cannot be read: its headers are damaged.") from None
    fields, photographs = dict(request.query_params), []
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name != "photo":
                raise RefusedError(422, "A part of the form holds a file, but is not named photo.")
            photographs.append(((value.filename or "photograph")[:NAMED], await value.read()))
        elif name == "photo":
            raise RefusedError(422, "The part photo holds no file.")
        else:
            fields[name] = value
    if not photographs:
        raise RefusedError(422, "The form has no part named photo that holds a file.")
    return Upload(photographs, fields)


async def _stream(request: Request, limits: Limits) -> AsyncGenerator[bytes, None]:
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limits.bytes:
            raise _too_long(limits)
        yield part


def _too_long(limits: Limits) -> RefusedError:
    return RefusedError(413, f"A request may have {limits.megabytes:g} MB at most.")


@dataclass(frozen=True)
class Wanted:
    """The fields of a request, checked."""

    names: tuple[str | None, str | None, str | None]  # set, variant and code
    count: int
    circle: tuple[float, float, float] | None


def wanted(fields: Mapping[str, str]) -> Wanted:
    if unknown := [name for name in fields if name not in FIELDS]:
        raise RefusedError(
            422, f"There is no field {unknown[0][:NAMED]!r}: use {', '.join(FIELDS)}."
        )
    count = fields.get("k") or "5"
    if not (count.isascii() and count.isdecimal() and 1 <= int(count[:9]) <= MOST_RESULTS):
        raise RefusedError(422, f"k should be a whole number from 1 to {MOST_RESULTS}.")
    near, within = fields.get("near") or None, fields.get("within") or None
    if (near is None) != (within is None):
        raise RefusedError(422, "near (LAT,LON) and within (metres) belong together.")
    names = tuple(fields.get(name) or None for name in FIELDS[:3])
    for field_name, name in zip(FIELDS, names, strict=False):
        if name is not None and not re.fullmatch(r"\w{1,100}", name):
            raise RefusedError(422, f"{field_name} should be a name: letters, digits and _.")
    return Wanted(names, int(count[:9]), _circle(near, within))  # type: ignore[arg-type]


def _circle(near: str | None, within: str | None) -> tuple[float, float, float] | None:
    if near is None or within is None:
        return None
    pair = number_pair(near[:NAMED])
    try:
        metres = float(within[:NAMED])
    except ValueError:
        pair = None
    if pair is None:
        raise RefusedError(
            422, "near should be LAT,LON such as 52.50301,13.33001, and within metres."
        )
    latitude, longitude = pair
    if not (abs(latitude) <= 90 and abs(longitude) <= 180):
        raise RefusedError(
            422, "near should be LAT,LON: latitude from -90 to 90, longitude to ±180."
        )
    if not (math.isfinite(metres) and metres > 0):
        raise RefusedError(422, "within should be metres above zero.")
    return latitude, longitude, metres
