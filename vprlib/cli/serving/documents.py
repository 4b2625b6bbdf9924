"""What /openapi.json and /docs say of the service."""

import json
from collections.abc import Iterator
from html import escape

from vprlib.cli.serving.limits import FIELDS, MOST_RESULTS
from vprlib.pipeline.params import JsonObject

ABOUT = 'Says where photographs were taken. Errors are JSON with one sentence: {"error": "…"}.'
Responses = dict[int | str, JsonObject]


def _json(description: str, example: object) -> JsonObject:
    return {"description": description, "content": {"application/json": {"example": example}}}


_NAMES = {"set": "city_test", "variant": "trained", "code": "full"}
_ERROR = {"error": "One sentence: what was wrong, and what to do."}
HEALTH: Responses = {
    200: _json("It answers. Needs no token.", {"status": "ok", "needs_token": False})
}
_MAP = {**_NAMES, "version": "5b0c0fbcae4f", "images": 880, "geographic": True}
MAPS: Responses = {
    200: _json(
        "`waiting` says why a newer run is not taken over yet.",
        {
            "default": _NAMES,
            "maps": [{**_MAP, "since": "2026-11-30T12:00:00Z", "waiting": None}],
        },
    )
}
_PLACE = {"latitude": 40.379088, "longitude": 15.58908, "easting": 550003.9, "northing": 4470000.0}
_LINK = "https://www.openstreetmap.org/?mlat=40.379088&mlon=15.589080#map=19/40.379088/15.589080"
LOCATED: Responses = {
    200: _json(
        "An answer for each photograph, in order.",
        {
            "map": _MAP,
            "answers": [
                {
                    "photograph": "holiday.jpg",
                    "estimate": {**_PLACE, "spread_m": 1.2, "agree": 2, "results": 5, "map": _LINK},
                    "confidence": 0.08,
                    "sure": "99",
                    "verdict": "sure: of answers with a score of at least 0.072, …",
                    "results": [
                        {
                            "rank": 1,
                            "database": "map/a.jpg",
                            "distance": 1.02,
                            "score": 0.47,
                            **_PLACE,
                            "place": "A",
                            "image": "/v1/images/city_test/5b0c0fbcae4f/17",
                        }
                    ],
                }
            ],
        },
    ),
    413: _json("The request is too large.", _ERROR),
    422: _json("A field or a photograph is wrong.", _ERROR),
    503: _json("Too much is waiting: try again after the seconds of Retry-After.", _ERROR),
}
IMAGES: Responses = {
    200: {"description": "JPEG, at most 320 pixels a side.", "content": {"image/jpeg": {}}},
    404: _json("There is no such image, or the map has been replaced.", _ERROR),
}
_TEXT = {
    "set": "a data set; default: that of the service",
    "variant": "a network",
    "code": "how descriptors are stored",
    "k": f"results of each photograph, 1 to {MOST_RESULTS}; default: 5",
    "near": "LAT,LON: search only around this place",
    "within": "metres around near",
}
_FORM = {
    "type": "object",
    "required": ["photo"],
    "properties": {
        "photo": {"type": "array", "items": {"type": "string", "format": "binary"}},
        **{name: {"type": "string", "description": _TEXT[name]} for name in FIELDS},
    },
}
LOCATE: JsonObject = {
    "required": True,
    "description": "A form with one or more parts named photo, and fields. Or one image as the"
    " whole body (image/jpeg), with the fields in the address.",
    "content": {
        "multipart/form-data": {"schema": _FORM},
        "image/jpeg": {"schema": {"type": "string", "format": "binary"}},
    },
}


def page(schema: JsonObject) -> str:
    """The same as a page that needs no script and nothing from elsewhere."""
    parts = "".join(_sections(schema))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><title>vprlib: the service</title>'
        '<link rel="icon" href="data:,"><link rel="stylesheet" href="/shared/css/base.css"></head>'
        f"<body><main><h1>The service</h1><p>{escape(ABOUT)} The same for programs:"
        ' <a href="/openapi.json">openapi.json</a>.</p>'
        f"{parts}</main></body></html>"
    )


def _sections(schema: JsonObject) -> Iterator[str]:
    for path, methods in schema["paths"].items():
        for method, about in methods.items():
            yield f"<h2><code>{method.upper()} {escape(path)}</code></h2>"
            yield f"<p>{escape(about['summary'])}.</p>"
            if body := about.get("requestBody"):
                yield f"<p>{escape(body['description'])}</p><ul>"
                form = body["content"]["multipart/form-data"]["schema"]["properties"]
                for name, field in form.items():
                    text = field.get("description", "a photograph; may be repeated")
                    yield f"<li><code>{escape(name)}</code>: {escape(text)}</li>"
                yield "</ul>"
            for status, response in about["responses"].items():
                yield f"<p><code>{escape(status)}</code> {escape(response['description'])}</p>"
                example = response.get("content", {}).get("application/json", {}).get("example")
                if example is not None:
                    yield f"<pre>{escape(_pretty(example))}</pre>"


def _pretty(example: object) -> str:
    return json.dumps(example, indent=2, ensure_ascii=False)
