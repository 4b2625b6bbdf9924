"""What stands before every answer: the token, the name of the host, and safe headers."""

import base64
import binascii
import hmac
import json
from collections.abc import Sequence
from contextlib import suppress

import h11
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEALTH = "/v1/health"
TILES = "https://tile.openstreetmap.org"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self';"
    f" img-src 'self' data: blob: {TILES}; connect-src 'self'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'"
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(self), geolocation=(self), microphone=()"),
]


class Guard:
    """Refuses before anything is read of the request."""

    def __init__(self, app: ASGIApp, token: str | None, hosts: Sequence[str] | None) -> None:
        """`hosts` are the only names that the service answers to; None: any."""
        self.app, self.token, self.hosts = app, token, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [pair for pair in message.get("headers", []) if pair[0] != b"server"]
                message["headers"] = [*kept, *HEADERS]
            with suppress(h11.LocalProtocolError):  # the client broke off in the middle
                await send(message)

        if (refusal := self._refusal(scope)) is None:
            await self.app(scope, receive, with_headers)
            return
        status, sentence = refusal
        body = json.dumps({"error": sentence}).encode()
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        headers.append((b"content-length", str(len(body)).encode()))
        if status == 401:
            headers.append(
                (b"www-authenticate", b'Basic realm="vprlib: the token is the password"')
            )
        await with_headers({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = dict(scope["headers"])
        if self.hosts is not None and _host(headers.get(b"host", b"")) not in self.hosts:
            return 421, "The service does not answer to this name: use 127.0.0.1 or localhost."
        if headers.get(b"sec-fetch-site") == b"cross-site" and scope["method"] != "GET":
            return 403, "Another site may not ask this service."
        if self.token is None or scope["path"] == HEALTH:
            return None
        if is_token(headers.get(b"authorization", b""), self.token):
            return None
        return 401, "This needs the token of the service: send it as Authorization: Bearer TOKEN."


def is_token(header: bytes, token: str) -> bool:
    """Whether a header holds the token: as Bearer, or as the password of Basic, as browsers do."""
    kind, _, given = header.partition(b" ")
    if kind.lower() == b"basic":
        try:
            given = base64.b64decode(given, validate=True).partition(b":")[2]
        except binascii.Error:
            return False
    elif kind.lower() != b"bearer":
        return False
    return hmac.compare_digest(given.strip(), token.encode())


def _host(header: bytes) -> str:
    """Without its port."""
    name = header.decode("latin-1").lower()
    if name.startswith("["):
        return name.partition("]")[0] + "]"
    return name.rpartition(":")[0] if ":" in name else name
