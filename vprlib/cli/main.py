"""The `vpr` command: loads only the module of the subcommand that was asked for."""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module

import typer

from vprlib.pipeline import command

ABOUT = """Find where photographs were taken, and compare the networks that find it.

Run it in the project's folder. Most commands read what `dvc repro` has written.
"""
# command → module and function below vprlib.cli, and its line in `vpr --help`
COMMANDS = {
    "use": ("use:main", "Write a preset into params.yaml and print what changed."),
    "find": ("finding.find:main", "Print where a photograph was taken, and the images like it."),
    "table": ("table:main", "Print the recall of all variants, and the gain by training."),
    "compare": (
        "comparison.compare:main",
        "Compare runs, and test whether they differ significantly.",
    ),
    "report": ("report.command:main", "Write a page that shows all results in a browser."),
    "serve": ("serving.command:main", "Answer over HTTP where photographs were taken."),
    "predictions": ("predictions:main", "Write the images found for each query to a file."),
    "tradeoffs": ("tradeoffs:main", "Measure size and speed of all variants, with their recall."),
    "doctor": ("doctor:main", "Print what is wrong on this machine, and mend it."),
    "model convert": ("model.convert:main", "Convert a network or visual words."),
    "model export": ("model.export:main", "Export a network as one ONNX file."),
    "index sweep": ("sweep:main", "Compare recall, time and size of approximate search indexes."),
    "map push": ("maps.commands:push", "Write the descriptors of a set into a map in Qdrant."),
    "map list": ("maps.commands:list_versions", "List the versions of a map."),
    "map switch": ("maps.commands:switch", "Set the live version of a map, in one step."),
    "map drop": ("maps.commands:drop", "Remove a version of a map that is not live."),
    "cache list": ("cache:list_entries", "List what training has cached on disk."),
    "cache clear": ("cache:clear", "Remove what no process uses from the cache."),
}
GROUPS = {
    "model": "Convert and export networks.",
    "index": "Choose approximate search indexes.",
    "map": "Fill maps in Qdrant, and take their versions over.",
    "cache": "List and clear what training has cached on disk.",
}


def new_app(arguments: Sequence[str]) -> typer.Typer:
    """The application for one command line; commands that it does not name are not imported."""
    app = command.new_app(ABOUT)
    groups = {"": app} | {name: command.new_app(text) for name, text in GROUPS.items()}
    for name in GROUPS:
        app.add_typer(groups[name], name=name)
    for path, (place, text) in COMMANDS.items():
        group, _, name = path.rpartition(" ")
        is_asked = list(arguments[: path.count(" ") + 1]) == path.split()
        function = _load(place) if is_asked else _not_loaded
        groups[group].command(name, help=None if is_asked else text)(function)
    return app


def _load(place: str) -> Callable[..., None]:
    module, _, function = place.partition(":")
    return getattr(import_module(f"vprlib.cli.{module}"), function)


def _not_loaded() -> None:
    raise AssertionError("only the help text of this command is used")


def run() -> None:
    """The entry point of the installed command."""
    command.run(new_app(sys.argv[1:]), "vpr")
