"""Builds the network before training: a backbone, and a pool made from the visual words."""

from dataclasses import replace
from typing import Annotated

import typer

from vprlib.interop.words import NO_WORDS, read_words
from vprlib.model.device import prepare
from vprlib.model.model import write_model
from vprlib.model.settings import AnyPool, has_words
from vprlib.model.weights import BackboneSettings, starting_backbone
from vprlib.pipeline import command, paths
from vprlib.pipeline.params import At, StageParams
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.train.sample import read_sample
from vprlib.train.start import assemble, start_sentence


class Params(StageParams):
    backbone: Annotated[BackboneSettings, At("model.backbone")]
    pool: Annotated[AnyPool, At("model.pool")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(training: str) -> None:
    p = Params.load()
    prepare(p.runtime)
    backbone = starting_backbone(p.backbone, paths.WEIGHTS)
    features = read_sample(paths.SAMPLE)
    words = read_words(paths.CENTROIDS) if has_words(p.pool.kind) else NO_WORDS
    if words.descriptors is not None:  # those of the file that the words come from
        features = replace(features, descriptors=words.descriptors)
    model, alpha = assemble(p.backbone, backbone, p.pool, words.centroids, features)
    history = {"words_from": training, "alpha": alpha, "start": p.backbone.weights}
    write_model(paths.model("off_the_shelf"), model, history)
    typer.echo(start_sentence(p.backbone, model, alpha))


if __name__ == "__main__":
    command.run(main)
