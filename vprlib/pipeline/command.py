"""Runs a stage or the `vpr` command: an error is one sentence on stderr, without a traceback."""

import re
import sys
from collections.abc import Callable

import typer

from vprlib.pipeline.params import UserError


def new_app(help: str | None = None) -> typer.Typer:
    """An app with plain help texts, no completion options, and Python's tracebacks for bugs."""
    return typer.Typer(
        help=help,
        no_args_is_help=help is not None,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )


def run(main: typer.Typer | Callable[..., None], name: str | None = None) -> None:
    """Runs an application, or one function, with the options of the command line."""
    app = main if isinstance(main, typer.Typer) else new_app()
    if not isinstance(main, typer.Typer):
        app.command()(main)
    try:
        app(prog_name=name)
    except (UserError, FileNotFoundError) as error:
        typer.echo(f"error: {sentence(error)}", err=True)
        sys.exit(1)


def sentence(error: UserError | FileNotFoundError) -> str:
    """The error in words; DVC checks that inputs exist, but someone who runs a stage may not."""
    if isinstance(error, UserError):
        return str(error)
    # HDF5 and safetensors name the file only in their message
    named = re.search(r"name = '(.+?)', errno|directory: (.+)$", str(error))
    path = error.filename or (named and (named[1] or named[2])) or error
    return f"{path} is missing: `dvc repro` makes what stages read; or name another file."
