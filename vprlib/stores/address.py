"""Finds the home that an option names: a folder, or an address and a name."""

import importlib.util
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from vprlib.pipeline.params import UserError
from vprlib.stores.store import Store

PORT = 6334  # of gRPC
KEY = "QDRANT_API_KEY"  # the name of an environment variable
NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
FORMS = "a folder such as maps/city, or an address and a name such as http://host:6334/city"


def open_store(place: str, timeout_s: float = 30.0) -> Store:
    """The home at a place; a server is asked for nothing yet."""
    if not place.strip():
        raise UserError(f"the map has no name: name {FORMS}.")
    if "://" not in place:
        _check_extra("qdrant_edge", "qdrant-edge-py")
        from vprlib.stores.embedded import Folder

        return Folder(Path(place))
    _check_extra("qdrant_client", "qdrant-client")
    from vprlib.stores.cluster import Cluster, connect

    address, name = parsed(place)
    return Cluster(connect(address, os.environ.get(KEY), timeout_s), name, address)


def parsed(place: str) -> tuple[str, str]:
    """The address of the server with its port, and the name of the map."""
    try:
        parts = urlsplit(place)
        port = parts.port or PORT
    except ValueError:
        raise UserError(f"the map '{place}' has no port that is a number: name {FORMS}.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"the map '{place}' is at no address: name {FORMS}.")
    if parts.username or parts.password:
        raise UserError(f"the map's address holds a password: put the key into {KEY} instead.")
    name = parts.path.strip("/")
    if not NAME.fullmatch(name):
        why = f"'{name}' is no name of a map (letters, digits, - and _)" if name else "it lacks one"
        raise UserError(f"the map '{place}' needs a name behind the address, but {why}.")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port}", name


def _check_extra(module: str, package: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise UserError(f"such a map needs {package}: run `pip install -e '.[qdrant]'`.")
