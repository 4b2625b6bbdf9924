"""Converts networks and visual words between systems."""

from dataclasses import replace
from enum import StrEnum
from pathlib import Path

import typer

from vprlib.interop.matlab_write import write_struct
from vprlib.interop.networks import Network, describe, read_network, words_of
from vprlib.interop.port import FLAGS, write_checkpoint
from vprlib.interop.words import Words, read_descriptors, write_mat_words, write_port_words
from vprlib.model.model import write_model
from vprlib.pipeline import command


class Form(StrEnum):
    """What is written: whole networks, or visual words alone."""

    VPRLIB = "vprlib"
    PORT = "port"
    MATLAB = "matlab"
    CENTROIDS_MAT = "centroids-mat"
    CENTROIDS_PORT = "centroids-port"


def write_network(path: Path, network: Network, form: Form) -> None:
    if form is Form.PORT:
        write_checkpoint(path, network.model, network.history)
    elif form is Form.MATLAB:
        write_struct(path, network.model)
    else:
        write_model(path, network.model, network.history)


def write_words(path: Path, words: Words, form: Form) -> None:
    if form is Form.CENTROIDS_MAT:
        write_mat_words(path, words.centroids)
    else:
        write_port_words(path, words)


def main(
    source: Path = typer.Argument(help="a network or visual words, of any of the systems"),
    target: Path = typer.Argument(help="replaced where it exists"),
    to: Form = typer.Option(help="whose form it is to have"),
    descriptors: Path = typer.Option(None, help="local descriptors, for --to centroids-port"),
) -> None:
    """Converts networks and visual words between this project and the systems before it."""
    if to in (Form.CENTROIDS_MAT, Form.CENTROIDS_PORT):
        words = words_of(source)
        if descriptors is not None:
            words = replace(words, descriptors=read_descriptors(descriptors))
        write_words(target, words, to)
        count, dim = words.centroids.shape
        typer.echo(f"read {source}: {count} visual words of {dim} dimensions")
    else:
        network = read_network(source)
        write_network(target, network, to)
        typer.echo(f"read {source}, a {describe(network)}")
    beside = f" and {target.with_name(FLAGS)}" if to is Form.PORT else ""
    typer.echo(f"wrote {target}{beside}")


if __name__ == "__main__":
    command.run(main)
