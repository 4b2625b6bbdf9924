"""Lets `python -m vprlib.cli` do what `vpr` does."""

from vprlib.cli.main import run

run()
