"""Sees every file that Python opens and every program that it starts."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_KNOWN = (sys.prefix, sys.base_prefix, _ROOT, "/proc", "/sys", "/dev", "/usr", "/lib", "/etc/ld")
_CACHES = ("matplotlib", "fontconfig", "/dvc/config", "/git/config", ".gitconfig")
_PROGRAMS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.startfile")
_seen: list[str] | None = None


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if _seen is None:
        return
    if event in _PROGRAMS:
        _seen.append(f"{event} {arguments}")
    elif event == "open" and isinstance(arguments[0], (str, bytes)):
        _seen.append(f"open {os.path.realpath(os.fsdecode(arguments[0]))}")


sys.addaudithook(_hook)


@contextmanager
def watching(here: Path) -> Iterator[list[str]]:
    """Collects what should not happen: programs, and files outside of `here` and of Python."""
    global _seen
    found: list[str] = []
    _seen = []
    try:
        yield found
    finally:
        seen, _seen = _seen, None
        found += [what for what in seen if not _is_allowed(what, here)]


def _is_allowed(what: str, here: Path) -> bool:
    kind, _, name = what.partition(" ")
    path = Path(name)
    roots = (os.path.realpath(here), *map(os.path.realpath, _KNOWN))
    is_known = any(path.is_relative_to(root) for root in roots)
    is_own = path.parent == Path(tempfile.gettempdir()) or any(c in name for c in _CACHES)
    return kind == "open" and (is_known or is_own)
