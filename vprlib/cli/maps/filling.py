"""What a map takes from the files of a set: its facts, and what it stores with each image."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from vprlib.cli.choice import Choice
from vprlib.descriptors.quantisers import Coded
from vprlib.descriptors.rows import Rows
from vprlib.images.decode import ImageSettings
from vprlib.images.index import ImageIndex, signature
from vprlib.pipeline import cache
from vprlib.pipeline.params import JsonObject
from vprlib.stores.facts import SCHEMA, Facts, Precision


def facts_of(
    choice: Choice,
    index: ImageIndex,
    degrees: np.ndarray | None,
    images: ImageSettings,
    stored: Rows,
    rows: int,
) -> Facts:
    """Of the database of a choice, `rows` of whose images have a descriptor."""
    precision, scale = _kept_in(stored)
    known = [index.extra[name] for name in ("time", "heading") if name in index.extra]
    listed = [values.astype(str).tolist() for values in known]
    places = cache.digest(index.positions, *([] if degrees is None else [degrees]), listed)
    return Facts(
        schema=SCHEMA,
        made=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        network=choice.checked_network(),
        code=digest_of_code(choice.coder_path),
        images=signature(index),
        places=places,
        rows=rows,
        dim=stored.shape[1],
        precision=precision,
        scale=scale,
        described_in=choice.precision(),
        read_by=read_by(images),
        is_geographic=degrees is not None,
        has_graph=False,
        dataset=choice.dataset,
        variant=choice.variant,
        name=choice.code,
    )


def digest_of_code(path: Path | None) -> str:
    return "" if path is None else cache.digest(path)


def read_by(images: ImageSettings) -> str:
    return json.dumps(images.model_dump(), sort_keys=True)


def _kept_in(stored: Rows) -> tuple[Precision, float]:
    """How the engine keeps such rows without a loss, and the step of its whole numbers."""
    if isinstance(stored, Coded):
        if stored.quantiser.precision == "int8":
            return "uint8", float(stored.quantiser.learnt["scale"])
        return "float32", 1.0  # words of pq, or ±1/√d
    return ("float16", 1.0) if stored.dtype == np.float16 else ("float32", 1.0)


def payloads_of(
    index: ImageIndex, degrees: np.ndarray | None, rows: np.ndarray
) -> Sequence[JsonObject]:
    """Name, place, time and heading of images, where known."""
    extra = {name: index.extra[name] for name in ("time", "heading") if name in index.extra}
    found: list[JsonObject] = []
    for row in rows.tolist():
        payload: JsonObject = {"name": index.names[row]}
        x, y = index.positions[row].tolist()
        if np.isfinite(x) and np.isfinite(y):
            payload |= {"x": x, "y": y}
        if degrees is not None and np.isfinite(degrees[row]).all():
            lon, lat = degrees[row].tolist()
            payload["place"] = {"lon": lon, "lat": lat}
        for name, values in extra.items():
            value = values[row] if isinstance(values[row], str) else float(values[row])
            if value != "" and value == value:  # NaN: not known
                payload[name] = value
        found.append(payload)
    return found
