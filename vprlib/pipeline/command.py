"""Runs a stage or a command from the shell: one sentence on an error, and no traceback."""

import re
import sys
from collections.abc import Callable

import typer

from vprlib.pipeline.params import UserError


def run(main: Callable[..., None]) -> None:
    """Calls `main` with the command line's options."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    try:
        app()
    except (UserError, FileNotFoundError) as error:
        typer.echo(f"error: {sentence(error)}", err=True)
        sys.exit(1)


def sentence(error: UserError | FileNotFoundError) -> str:
    """For people. Before a stage DVC asks for the files that it reads; nobody does by hand."""
    if isinstance(error, UserError):
        return str(error)
    # HDF5 and safetensors name the file in their words alone
    named = re.search(r"name = '(.+?)', errno|directory: (.+)$", str(error))
    path = error.filename or (named and (named[1] or named[2])) or error
    return f"{path} is missing: `dvc repro` makes what stages read; or name another file."
