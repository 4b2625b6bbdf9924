"""Runs a stage or the `vpr` command: an error is one sentence on stderr, without a traceback."""

import io
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps

import typer

from vprlib.pipeline import paths
from vprlib.pipeline.params import UserError
from vprlib.pipeline.runtime import is_member, processor_name

LONGEST = 390  # characters of a sentence
COARSE = 1.0  # seconds by which the time of a file may differ from the clock
Main = Callable[..., Mapping[str, float] | None]


@dataclass(frozen=True)
class Note:
    """What a stage has noted of its last run: DVC keeps no times."""

    command: str  # as in dvc.lock
    started: float  # seconds since 1970
    seconds: float
    processor: str
    told: Mapping[str, float]  # what the stage's function returned

    def holds(self, time: float) -> bool:
        """Whether the run was going on."""
        return self.started - COARSE <= time <= self.started + self.seconds + COARSE


def read_notes() -> dict[str, Note]:
    """By command."""
    from vprlib.pipeline.json_files import read_json

    notes = [read_json(path, Note) for path in sorted(paths.TIMES.glob("*.json"))]
    return {note.command: note for note in notes}


def new_app(help: str | None = None) -> typer.Typer:
    """An app with plain help texts, no completion options, and Python's tracebacks for bugs."""
    return typer.Typer(
        help=help,
        no_args_is_help=help is not None,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )


def run(main: typer.Typer | Main, name: str | None = None) -> None:
    """Runs an application, or one function, with the options of the command line."""
    app = main if isinstance(main, typer.Typer) else new_app()
    if not isinstance(main, typer.Typer):
        app.command()(_timed(main))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8
    try:
        app(prog_name=name)
    except SystemExit as stop:
        if not stop.code and getattr(main, "__module__", "") == "__main__":
            _end()
        raise
    except Exception as error:
        if not (said := sentences(error)):
            raise
        for sentence in said:
            typer.echo(f"error: {sentence}", err=True)
        sys.exit(1)


def _timed(main: Main) -> Callable[..., None]:
    """`main`, which notes how long a stage took, and what it returned."""

    @wraps(main)
    def timed(**options: object) -> None:
        started, clock = time.time(), time.perf_counter()
        told = main(**options) or {}
        name = getattr(sys.modules["__main__"].__spec__, "name", "")
        if name.startswith("stages.") and not is_member():  # of a group the launcher tells
            _note([name, *sys.argv[1:]], started, time.perf_counter() - clock, told)

    return timed


def _note(stage: list[str], started: float, seconds: float, told: Mapping[str, float]) -> None:
    """A file for each command, so that stages can run at once; no output of DVC."""
    from vprlib.pipeline.artifacts import write_json  # h5py, which `vpr --help` need not load

    torch = sys.modules.get("torch")
    on_gpu = torch is not None and torch.cuda.is_initialized()
    processor = torch.cuda.get_device_name() if torch and on_gpu else processor_name()
    note = Note(" ".join(["python -m", *stage]), started, seconds, processor, told)
    with suppress(UserError):  # the stage has done its work
        write_json(paths.TIMES / f"{'-'.join(stage).replace('/', '-')}.json", vars(note))


def _end() -> None:
    """Ends a stage well and at once: an orderly end takes PyTorch 0.8 s, and matplotlib 0.4."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def sentences(error: Exception) -> list[str]:
    """The error in words, a line each; nothing for a mistake of our own, which has a traceback."""
    said: tuple[object, ...] = ()
    if isinstance(error, UserError):
        said = error.args
    elif isinstance(error, OSError) and (path := _named(error)) is not None:
        said = (_of_a_file(path, error),)
    elif isinstance(error, UnicodeEncodeError) and "surrogates" in error.reason:
        said = (f"'{error.object}' is no name in UTF-8: rename the file.",)
    return [_shortened(printable(str(sentence))) for sentence in said]


def printable(text: str) -> str:
    """The text on one line: a line break, or what would change the terminal, as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _shortened(sentence: str) -> str:
    """Without the middle if it is long: it begins with what and where, and ends with a remedy."""
    if len(sentence) <= LONGEST:
        return sentence
    half = LONGEST // 2 - 2
    return f"{sentence[:half]} … {sentence[-half:]}"


def _named(error: OSError) -> str | None:
    """The file that it is about; HDF5 and safetensors name it only in their message."""
    if error.filename is not None:
        return os.fsdecode(error.filename) if not isinstance(error.filename, int) else None
    found = re.search(r"name = '(.+?)', errno|directory: (.+)$", str(error))
    return (found[1] or found[2]) if found else None


def _of_a_file(path: str, error: OSError) -> str:
    """DVC checks that inputs exist, but someone who runs a stage may not."""
    if isinstance(error, FileNotFoundError):
        return f"{path} is missing: `dvc repro` makes what stages read; or name another file."
    reason = (error.strerror or "it cannot be opened").partition(" (")[0]
    return f"{path} cannot be used: {reason.lower()}; name another file, or mend this one."
