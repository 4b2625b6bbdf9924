"""The routes of the service, and what each of them answers."""

import asyncio
import importlib.resources
import io
import mimetypes
import sys
import traceback
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import PurePosixPath

import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from vprlib.cli.serving import documents
from vprlib.cli.serving.answering import Answering, Asked
from vprlib.cli.serving.batches import Batches, FullError
from vprlib.cli.serving.catalogue import Catalogue
from vprlib.cli.serving.guard import HEALTH
from vprlib.cli.serving.limits import Limits, RefusedError, Room, Upload, read, wanted
from vprlib.cli.serving.maps import Map
from vprlib.cli.serving.of_store import StoreCatalogue
from vprlib.images.decode import decode_bytes
from vprlib.pipeline.params import JsonObject, UserError
from vprlib.stores.store import UnavailableError

THUMBNAIL = 320  # pixels of the longer side
KEPT = 2**26  # bytes of thumbnails
# what the page shares with that of `vpr report`
SHARED = ("css/base.css", "js/core.js", "vendor/leaflet.js", "vendor/leaflet.css")
ERRORS = {
    404: "There is nothing at this address: see /docs.",
    405: "This address does not take such a request: see /docs.",
}


class Service:
    """All that requests share."""

    def __init__(self, catalogue: Catalogue | StoreCatalogue, limits: Limits) -> None:
        self.catalogue, self.limits = catalogue, limits
        self.room, self.batches = Room(limits), Batches()
        workers = catalogue.get(None, None, None).params.runtime.workers
        self.decoders = ThreadPoolExecutor(workers, "decoding")
        self._thumbnails: OrderedDict[tuple[str, str, int], bytes] = OrderedDict()

    def close(self) -> None:
        self.batches.close()
        self.decoders.shutdown(cancel_futures=True)
        self.catalogue.close()

    async def locate(self, request: Request) -> JsonObject:
        length = request.headers.get("content-length", "")
        size = min(int(length[:18]), self.limits.bytes) if length.isdecimal() else self.limits.bytes
        with self.room.holding(size=size):
            upload = await read(request, self.limits)
            with self.room.holding(len(upload.photographs)):
                try:
                    async with asyncio.timeout(self.limits.seconds):
                        return await self._answered(upload)
                except TimeoutError:
                    raise RefusedError(
                        503, f"No answer within {self.limits.seconds:g} seconds: try again later."
                    ) from None

    async def _answered(self, upload: Upload) -> JsonObject:
        asked = wanted(upload.fields)
        try:
            found: Answering = await run_in_threadpool(self.catalogue.get, *asked.names)
        except UserError as error:
            raise RefusedError(404, _sentence(error)) from None
        if asked.circle is not None:
            await run_in_threadpool(found.check_circle, asked.circle)
        loop, photographs = asyncio.get_running_loop(), []
        with ExitStack() as held:
            for name, content in upload.photographs:
                decoded = loop.run_in_executor(self.decoders, self._decoded, found, name, content)
                pixels = await decoded
                held.enter_context(self.room.holding(size=pixels.nbytes))
                photographs.append(Asked(name, pixels, asked.count, asked.circle))
            answers = await self.batches.answers(found, photographs)
        return {"map": found.told, "answers": answers}

    def _decoded(self, found: Answering, name: str, content: bytes) -> np.ndarray:
        try:
            return decode_bytes(
                content, found.params.images, self.limits.pixels, found.most_pixels()
            )
        except ValueError as error:
            raise RefusedError(422, f"{_shown(name)} {error}.") from None
        except MemoryError:
            raise RefusedError(503, "There is no memory for this photograph now.") from None

    async def thumbnail(self, dataset: str, version: str, row: int) -> bytes:
        key = dataset, version, row
        if key in self._thumbnails:
            self._thumbnails.move_to_end(key)
            return self._thumbnails[key]
        found = self.catalogue.held(dataset, version)
        if found is None:
            raise RefusedError(404, "The map has been replaced since: ask again.")
        if not 0 <= row < len(found.index):
            raise RefusedError(404, "The map has no such image.")
        loop = asyncio.get_running_loop()
        made = await loop.run_in_executor(self.decoders, _small, found, row)
        self._thumbnails[key] = made
        while sum(map(len, self._thumbnails.values())) > KEPT:
            self._thumbnails.popitem(last=False)
        return made


def _small(found: Map, row: int) -> bytes:
    pixels = found.source.pixels_or_problem(row)
    if isinstance(pixels, str):
        raise RefusedError(404, f"The image {pixels}.")
    image, file = Image.fromarray(pixels), io.BytesIO()
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR, reducing_gap=2.0)
    image.save(file, "JPEG", quality=80)
    return file.getvalue()


def _shown(name: str) -> str:
    """A name that a client gave, in a sentence."""
    return "".join(c if c.isprintable() else "?" for c in name)


def _sentence(error: UserError) -> str:
    return " ".join(str(part) for part in error.args)


def refused(status: int, sentence: str) -> JSONResponse:
    headers = {"retry-after": "1"} if status == 503 else {}
    return JSONResponse({"error": sentence}, status, headers)


def new_app(service: Service, needs_token: bool) -> FastAPI:
    app = FastAPI(title="vprlib", docs_url=None, redoc_url=None, description=documents.ABOUT)

    @app.get(HEALTH, summary="Whether the service answers", responses=documents.HEALTH)
    async def health() -> JSONResponse:
        return JSONResponse({"status": "ok", "needs_token": needs_token})

    @app.get("/v1/maps", summary="The maps that can be asked", responses=documents.MAPS)
    async def maps() -> JSONResponse:
        return JSONResponse(await run_in_threadpool(service.catalogue.told))

    @app.post(
        "/v1/locate",
        summary="Where photographs were taken",
        responses=documents.LOCATED,
        openapi_extra={"requestBody": documents.LOCATE},
    )
    async def locate(request: Request) -> JSONResponse:
        return JSONResponse(await service.locate(request))

    @app.get(
        "/v1/images/{dataset}/{version}/{row}",
        summary="A small picture of an image of the map",
        responses=documents.IMAGES,
    )
    async def images(dataset: str, version: str, row: str) -> Response:
        if not (row.isascii() and row.isdecimal() and len(row) < 12):
            raise RefusedError(404, "The map has no such image.")
        content = await service.thumbnail(dataset, version, int(row))
        headers = {"cache-control": "private, max-age=86400, immutable"}
        return Response(content, media_type="image/jpeg", headers=headers)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return Response(documents.page(app.openapi()), media_type="text/html")

    own = {name: f"serving/page/{name}" for name in _names("serving/page")}
    shared = {name: f"report/page/{name}" for name in SHARED}

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return _file(own.get("index.html"))

    @app.get("/static/{name}", include_in_schema=False)
    async def static(name: str) -> Response:
        return _file(own.get(name))

    @app.get("/shared/{name:path}", include_in_schema=False)
    async def of_report(name: str) -> Response:
        return _file(shared.get(name))

    @app.exception_handler(RefusedError)
    async def as_asked(_request: Request, error: RefusedError) -> JSONResponse:
        return refused(error.status, error.sentence)

    @app.exception_handler(UserError)
    async def by_the_map(_request: Request, error: UserError) -> JSONResponse:
        return refused(422, _sentence(error))

    @app.exception_handler(UnavailableError)
    async def by_the_server(_request: Request, error: UnavailableError) -> JSONResponse:
        return refused(503, _sentence(error))

    @app.exception_handler(FullError)
    async def when_stopping(_request: Request, _error: FullError) -> JSONResponse:
        return refused(503, "The service is stopping.")

    @app.exception_handler(MemoryError)
    async def when_full(_request: Request, _error: MemoryError) -> JSONResponse:
        return refused(503, "There is no memory for this photograph now.")

    @app.exception_handler(HTTPException)
    async def by_route(_request: Request, error: HTTPException) -> JSONResponse:
        return refused(error.status_code, ERRORS.get(error.status_code, f"{error.detail}."))

    @app.exception_handler(Exception)
    async def by_mistake(_request: Request, error: Exception) -> JSONResponse:
        traceback.print_exception(error, file=sys.stderr)
        return refused(500, "The service made a mistake; its log says more.")

    return app


def _names(folder: str) -> Sequence[str]:
    root = importlib.resources.files("vprlib.cli").joinpath(folder)
    with suppress(FileNotFoundError, NotADirectoryError):
        return [entry.name for entry in root.iterdir() if entry.is_file()]
    return []


def _file(place: str | None) -> Response:
    """A file of the page, from a list that was made at the start."""
    if place is None:
        return refused(404, ERRORS[404])
    content = importlib.resources.files("vprlib.cli").joinpath(place).read_bytes()
    kind = mimetypes.guess_type(PurePosixPath(place).name)[0] or "application/octet-stream"
    return Response(content, media_type=kind, headers={"cache-control": "no-cache"})
