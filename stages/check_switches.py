"""Checks that the names in params.yaml agree with each other, before anything is computed."""

from typing import Annotated

import typer

from vprlib.compress.settings import Step, check_variants, pruned_of
from vprlib.descriptors.codes import CodeSettings, check_codes
from vprlib.interop.settings import NetworkSettings
from vprlib.model.settings import AnyPool
from vprlib.pipeline import command, paths
from vprlib.pipeline.artifacts import write_text
from vprlib.pipeline.params import At, Clusters, Count
from vprlib.pipeline.switches import (
    NO_TEACHER,
    SetFiles,
    Switches,
    check,
    check_files,
    check_photos,
    check_teacher,
    check_whitened,
)
from vprlib.search.faiss_factory import check_indexes


class Params(Switches):
    networks: Annotated[dict[str, NetworkSettings], At("networks")]
    variant_defs: Annotated[dict[str, list[Step]], At("variant_defs")]
    code_defs: Annotated[dict[str, CodeSettings], At("code_defs")]
    descriptors: Annotated[Count, At("whitening.descriptors")]
    dimensions: Annotated[Count, At("whitening.dimensions")]
    teacher: Annotated[str, At("train.teacher")]
    # what the length of a descriptor depends on
    backbone: Annotated[str, At("model.backbone.name")]
    cut: Annotated[str, At("model.backbone.cut")]
    pool: Annotated[AnyPool, At("model.pool")]
    clusters: Annotated[Clusters, At("kmeans.clusters")]
    datasets: Annotated[dict[str, SetFiles], At("datasets")]
    photos: Annotated[dict[str, object], At("photos")]

    def lengths(self) -> dict[str, int]:
        """The descriptor length of each variant that comes from init_model."""
        from vprlib.compress.pruning import pruned_length  # loads PyTorch, which takes seconds
        from vprlib.model.model import Architecture

        full = Architecture(self.backbone, self.cut, self.pool, self.clusters)
        pruned = {
            name: pruned_of(name, self.derived, self.variant_defs)
            for name in self.variants
            if name not in self.networks
        }
        lengths = {fractions: pruned_length(full, fractions) for fractions in {*pruned.values()}}
        return {name: lengths[fractions] for name, fractions in pruned.items()}


def main() -> None:
    p = Params.load()
    check(p, p.datasets, p.code_defs)
    check_teacher(p, p.teacher)
    check_variants(p.variants, p.derived, p.variant_defs, p.given)
    check_codes(p.codes, p.code_defs, p.dimensions, p.descriptors)
    whitened = {n: kept for n in p.codes if (kept := p.code_defs[n].keep.whiten)}
    if whitened and p.init_on:
        check_whitened(whitened, p.lengths())
    check_indexes({name: p.code_defs[name] for name in p.codes})
    places = {name: (d.folder, d.list) for name, d in p.datasets.items()}
    check_photos(p.photos, places)
    files = [network.file for network in p.networks.values()]
    check_files(places, files, paths.RAW, paths.WEIGHTS, p.photos)
    # the same words each time: nothing goes stale
    write_text(paths.SWITCHES, "The switches agree.\n")
    write_text(paths.model(NO_TEACHER), "No network: train.teacher is none.\n")
    trained = f"train on {', '.join(p.train_on)}, " if p.train_on else ""
    typer.echo(f"switches: {trained}evaluate on {', '.join(p.eval_on)}")


if __name__ == "__main__":
    command.run(main)
