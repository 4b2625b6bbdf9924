"""Answers over HTTP where photographs were taken: the command `vpr serve`."""

import importlib.util
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

import typer

from vprlib.cli import options
from vprlib.cli.choice import choose
from vprlib.pipeline.params import UserError

SHORTEST = 16  # characters of a token
LOCAL = ("127.0.0.1", "localhost", "[::1]")


def read_token(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise UserError(
            f"{path} cannot be read ({why.lower()}): write a token into it, such as by"
            " `python -c 'import secrets; print(secrets.token_urlsafe())' > token`."
        ) from None
    if len(lines) != 1 or len(lines[0]) < SHORTEST:
        raise UserError(
            f"{path} should hold one word of at least {SHORTEST} characters, the token: write it by"
            " `python -c 'import secrets; print(secrets.token_urlsafe())' > token`."
        )
    return lines[0]


def is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def main(
    dataset: options.Dataset = None,
    variant: options.Variant = None,
    code: options.Code = None,
    map_place: Annotated[
        str | None, typer.Option("--map", help="answer from this map of `vpr map push`")
    ] = None,
    host: Annotated[str, typer.Option(help="the address to listen at; 0.0.0.0: all")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free")] = 8000,
    token_file: Annotated[
        Path | None, typer.Option(help="a file with the word that every request must bring")
    ] = None,
    is_open: Annotated[
        bool, typer.Option("--open", help="answer other machines without a token")
    ] = False,
    max_mb: Annotated[float, typer.Option(min=0.001, max=2000, help="of a request")] = 20.0,
    max_megapixels: Annotated[
        float, typer.Option(min=0.001, max=100, help="of a photograph")
    ] = 50.0,
    max_seconds: Annotated[
        float, typer.Option(min=0.1, max=3600, help="to send a request; to wait for its answer")
    ] = 30.0,
    max_waiting: Annotated[
        int, typer.Option(min=1, max=10_000, help="photographs; more are told to come again")
    ] = 64,
) -> None:
    """Answer over HTTP where photographs were taken, with a page for browsers.

    Only this machine can ask, unless --host says otherwise; other machines need a token. The map
    that a later `dvc repro` makes is taken over as soon as it is whole, and so is the version
    of --map that `vpr map switch` makes the live one.
    """
    for module in ("fastapi", "uvicorn", "python_multipart"):
        if importlib.util.find_spec(module) is None:
            raise UserError(f"serving needs {module}: run `pip install -e '.[serve]'`.")
    token = None if token_file is None else read_token(token_file)
    if token is None and not is_open and not is_local(host):
        raise UserError(
            f"--host {host} can be reached from other machines: add --token-file, or --open to"
            " answer everyone."
        )
    chosen = None if map_place is not None else choose(dataset, variant, code)

    from vprlib.cli.serving.app import Service, new_app
    from vprlib.cli.serving.catalogue import Catalogue
    from vprlib.cli.serving.guard import Guard
    from vprlib.cli.serving.limits import Limits
    from vprlib.cli.serving.of_store import StoreCatalogue
    from vprlib.cli.serving.server import bound, serve
    from vprlib.stores.address import open_store

    listening = bound(host, port)
    limits = Limits(max_mb, max_megapixels, seconds=max_seconds, queue=max_waiting)
    catalogue: Catalogue | StoreCatalogue
    if chosen is not None:
        catalogue = Catalogue(chosen)
    else:
        store = open_store(map_place or "", timeout_s=max_seconds / 2)
        catalogue = StoreCatalogue(store, map_place or "", (dataset, variant, code))
    service = Service(catalogue, limits)
    try:
        hosts = LOCAL if is_local(host) and token is None and not is_open else None
        app = Guard(new_app(service, token is not None), token, hosts)
        shown = f"[{host}]" if ":" in host else host
        images = catalogue.get(None, None, None).images
        line = (
            f"http://{shown}:{listening.getsockname()[1]} answers from {images} images of"
            f" {catalogue.default.title}; Ctrl-C stops it"
        )
        serve(app, listening, max_seconds, lambda: typer.echo(line))
    finally:
        service.close()
    typer.echo("stopped")
