"""Reads a trained network from elsewhere, whatever system wrote it."""

from typing import Annotated

import typer

from vprlib.interop.networks import describe, load_network, read_onnx
from vprlib.interop.settings import NetworkSettings
from vprlib.model.model import write_model, write_onnx
from vprlib.pipeline import command, paths
from vprlib.pipeline.inside import inside
from vprlib.pipeline.params import At, StageParams


class Params(StageParams):
    network: Annotated[NetworkSettings, At("networks.{name}")]


def main(name: str) -> None:
    p = Params.load(name=name)
    path = inside(paths.WEIGHTS, p.network.file, f"networks.{name}.file")
    origin = {"file": p.network.file}
    if onnx := read_onnx(path, p.network, f"networks.{name}"):
        write_onnx(paths.model(name), onnx, origin)
        typer.echo(f"{name}: taken from {path}, a {onnx}")
        return
    network = load_network(path, p.network.whitening)
    write_model(paths.model(name), network.model, {**network.history, **origin})
    typer.echo(f"{name}: taken from {path}, a {describe(network)}")


if __name__ == "__main__":
    command.run(main)
