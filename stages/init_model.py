"""Puts the starting network together: backbone weights, and a pool set from the visual words."""

from pathlib import Path
from typing import Annotated

import h5py
import typer

from vprlib import command
from vprlib.assembly import assemble, start_sentence
from vprlib.device import prepare
from vprlib.model import write_model
from vprlib.params import At, StageParams
from vprlib.pool_settings import PoolSettings
from vprlib.runtime import RuntimeSettings
from vprlib.sampling import read_sample
from vprlib.weights import BackboneSettings, starting_backbone


class Params(StageParams):
    backbone: Annotated[BackboneSettings, At("recipes.{recipe}.model.backbone")]
    pool: Annotated[PoolSettings, At("recipes.{recipe}.model.pool")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(
    recipe: str = typer.Option(),
    sample: Path = typer.Option(),
    centroids: Path = typer.Option(),
    weights: Path = typer.Option(),
    out: Path = typer.Option(),
) -> None:
    p = Params.load(recipe=recipe)
    prepare(p.runtime)
    backbone = starting_backbone(p.backbone, weights)
    with h5py.File(centroids) as file:
        words = file["centroids"][:]
    model, alpha = assemble(p.backbone, backbone, p.pool, words, read_sample(sample))
    write_model(out, model, {"recipe": recipe, "alpha": alpha, "start": p.backbone.weights})
    typer.echo(start_sentence(p.backbone, model, alpha))


if __name__ == "__main__":
    command.run(main)
