"""Puts the starting network together from backbone and visual words, or takes a whole one."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from vprlib.interop.networks import describe
from vprlib.interop.words import NO_WORDS, read_words
from vprlib.model.device import prepare
from vprlib.model.model import Architecture, write_model
from vprlib.model.settings import PoolSettings, has_words
from vprlib.model.weights import BackboneSettings, starting_backbone
from vprlib.pipeline import command
from vprlib.pipeline.params import At, StageParams
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.train.sample import read_sample
from vprlib.train.start import StartWhitening, assemble, read_start, start_sentence


class Params(StageParams):
    backbone: Annotated[BackboneSettings, At("recipes.{recipe}.model.backbone")]
    pool: Annotated[PoolSettings, At("recipes.{recipe}.model.pool")]
    start: Annotated[str | None, At("recipes.{recipe}.model.start")]
    start_whitening: Annotated[StartWhitening, At("recipes.{recipe}.model.start_whitening")]
    clusters: Annotated[int, At("recipes.{recipe}.kmeans.clusters")]  # a start has as many
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
    if p.start is not None:
        wanted = Architecture(p.backbone.name, p.backbone.cut, p.pool, p.clusters)
        network = read_start(weights / p.start, wanted, p.start_whitening)
        write_model(out, network.model, {**network.history, "recipe": recipe, "start": p.start})
        typer.echo(f"model: taken from {weights / p.start}, a {describe(network)}")
        return
    backbone = starting_backbone(p.backbone, weights)
    features = read_sample(sample)
    words = read_words(centroids) if has_words(p.pool.kind) else NO_WORDS
    if words.descriptors is not None:  # of the file that the words come from
        features = replace(features, descriptors=words.descriptors)
    model, alpha = assemble(p.backbone, backbone, p.pool, words.centroids, features)
    write_model(out, model, {"recipe": recipe, "alpha": alpha, "start": p.backbone.weights})
    typer.echo(start_sentence(p.backbone, model, alpha))


if __name__ == "__main__":
    command.run(main)
