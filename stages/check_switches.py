"""Checks that the switches of params.yaml agree with each other, before anything is computed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from vprlib.compress.settings import Step, check_variants, pruned_of, words_of_training
from vprlib.descriptors import files
from vprlib.descriptors.codes import CodeSettings, check_codes
from vprlib.descriptors.files import Count
from vprlib.model.settings import PoolSettings
from vprlib.pipeline import command
from vprlib.pipeline.artifacts import write_text
from vprlib.pipeline.params import At, StageParams
from vprlib.pipeline.switches import SetPlace, check, check_specifications, check_whitened
from vprlib.search.faiss_factory import check_indexes


class Params(StageParams):
    train_on: Annotated[str, At("train_on")]
    eval_on: Annotated[list[str], At("eval_on")]
    calibrate_on: Annotated[str, At("calibrate_on")]
    variants: Annotated[list[str], At("variants")]
    derived: Annotated[dict[str, str], At("derived")]
    variant_defs: Annotated[dict[str, list[Step]], At("variant_defs")]
    codes: Annotated[list[str], At("codes")]
    code_defs: Annotated[dict[str, CodeSettings], At("code_defs")]
    descriptors: Annotated[Count, At("whitening.descriptors")]
    dimensions: Annotated[Count, At("whitening.dimensions")]
    sets: Annotated[dict[str, SetPlace], At("sets")]


class OfRecipe(StageParams):
    """What a descriptor's length comes of."""

    backbone: Annotated[str, At("recipes.{recipe}.model.backbone.name")]
    cut: Annotated[str, At("recipes.{recipe}.model.backbone.cut")]
    pool: Annotated[PoolSettings, At("recipes.{recipe}.model.pool")]
    clusters: Annotated[int, At("recipes.{recipe}.kmeans.clusters")]

    def lengths(self, fractions: Mapping[str, tuple[float, ...]]) -> dict[str, int]:
        """By variant, of which so much is pruned."""
        from vprlib.compress.pruning import pruned_length
        from vprlib.model.model import (
            Architecture,  # PyTorch is loaded by these, which takes seconds
        )

        full = Architecture(self.backbone, self.cut, self.pool, self.clusters)
        lengths = {pruned: pruned_length(full, pruned) for pruned in {*fractions.values()}}
        return {name: lengths[pruned] for name, pruned in fractions.items()}


def main(
    raw: Path = typer.Option(),
    out: Path = typer.Option(),
    codes_out: Path = typer.Option(),
    variants_out: Path = typer.Option(),
) -> None:
    p = Params.load()
    used = (p.train_on, p.eval_on, p.calibrate_on, p.variants, p.codes)
    check(*used, p.code_defs, p.sets, p.variant_defs)
    check_variants(p.variants, p.derived, p.variant_defs)
    check_codes(p.codes, p.code_defs, p.dimensions, p.descriptors)
    whitened = {name: p.code_defs[name].whiten for name in p.codes if p.code_defs[name].whiten}
    if whitened:
        pruned = {name: pruned_of(name, p.derived, p.variant_defs) for name in p.variants}
        check_whitened(whitened, OfRecipe.load(recipe=p.train_on).lengths(pruned))
    check_indexes({name: p.code_defs[name] for name in p.codes})
    check_specifications(p.sets, raw)
    # few words: nothing goes stale by this stage but at the first fitted code, or trained variant
    write_text(codes_out, files.words(any(p.code_defs[name].is_fitted for name in p.codes)))
    write_text(variants_out, words_of_training(p.variants))
    write_text(out, "The switches agree.\n")
    typer.echo(f"switches: train on {p.train_on}, evaluate on {', '.join(p.eval_on)}")


if __name__ == "__main__":
    command.run(main)
