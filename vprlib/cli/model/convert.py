"""Converts networks and visual words between systems: the command `vpr model convert`."""

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vprlib.cli import options
from vprlib.pipeline.explained import check_place
from vprlib.pipeline.params import UserError


class Form(StrEnum):
    """What is written: a whole network, or only its visual words."""

    VPRLIB = "vprlib"
    PORT = "port"
    MATLAB = "matlab"
    CENTROIDS_MAT = "centroids-mat"
    CENTROIDS_PORT = "centroids-port"


def main(
    source: Annotated[Path, typer.Argument(help="a file with a network or visual words")],
    to: Annotated[Form, typer.Option(help="the format to write")],
    out: options.Out,
    descriptors: Annotated[
        Path | None, typer.Option(help="a file of local descriptors (centroids-port only)")
    ] = None,
) -> None:
    """Convert a network or visual words to the format of another system.

    The systems are vprlib, the PyTorch port (pytorch-NetVlad) and the original MATLAB code.
    """
    from vprlib.interop.matlab_write import write_struct
    from vprlib.interop.networks import describe, read_network, words_of
    from vprlib.interop.port import FLAGS, write_checkpoint
    from vprlib.interop.words import read_descriptors, write_mat_words, write_port_words
    from vprlib.model.model import write_model
    from vprlib.pipeline.artifacts import together

    check_place(out)
    if to is Form.PORT and out.name == FLAGS:
        raise UserError(f"{out} is where the port's options go: give the checkpoint another name.")
    if to in (Form.CENTROIDS_MAT, Form.CENTROIDS_PORT):
        words = words_of(source)
        if descriptors is not None:
            words = replace(words, descriptors=read_descriptors(descriptors))
        if to is Form.CENTROIDS_MAT:
            write_mat_words(out, words.centroids)
        else:
            write_port_words(out, words)
        count, dim = words.centroids.shape
        typer.echo(f"read {source}: {count} visual words of {dim} dimensions")
    else:
        network = read_network(source)
        if to is Form.PORT:
            with together():  # the checkpoint and its options
                write_checkpoint(out, network.model, network.history)
        elif to is Form.MATLAB:
            write_struct(out, network.model)
        else:
            write_model(out, network.model, network.history)
        typer.echo(f"read {source}, a {describe(network)}")
    beside = f" and {out.with_name(FLAGS)}" if to is Form.PORT else ""
    typer.echo(f"wrote {out}{beside}")
