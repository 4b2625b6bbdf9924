"""Runs a stage or a command from the shell: one sentence on an error, and no traceback."""

import sys
from collections.abc import Callable

import typer

from vprlib.params import UserError


def run(main: Callable[..., None]) -> None:
    """Calls `main` with the command line's options."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    try:
        app()
    except UserError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)
