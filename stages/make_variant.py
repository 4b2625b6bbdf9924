"""Makes a smaller or faster network of another, by the steps of its entry in `variant_defs`."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from vprlib.compress.settings import Step
from vprlib.compress.variants import FineTuner, VariantBuilder
from vprlib.images.decode import ImageSettings
from vprlib.model.device import prepare
from vprlib.model.model import read_history, read_model, write_model
from vprlib.pipeline import launch
from vprlib.pipeline.artifacts import write_json
from vprlib.pipeline.group import joined
from vprlib.pipeline.params import At, StageParams
from vprlib.pipeline.resume import scratch_for
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.places.truth import RadiusOrOwn
from vprlib.train.cache import cache_at
from vprlib.train.data import SplitFiles, read_training_data
from vprlib.train.settings import TrainSettings


class Params(StageParams):
    steps: Annotated[list[Step], At("variant_defs.{variant}")]
    train: Annotated[TrainSettings, At("recipes.{recipe}.train")]
    images: Annotated[ImageSettings, At("datasets.{recipe}_train.images")]
    val_images: Annotated[ImageSettings, At("datasets.{recipe}_val.images")]
    val_radius_m: Annotated[RadiusOrOwn, At("datasets.{recipe}_val.radius_m")]
    folder: Annotated[str, At("sets.{recipe}_train.folder")]
    val_folder: Annotated[str, At("sets.{recipe}_val.folder")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


def main(
    recipe: str = typer.Option(),
    variant: str = typer.Option(),
    base: Path = typer.Option(),
    db: Path = typer.Option(),
    queries: Path = typer.Option(),
    val_db: Path = typer.Option(),
    val_queries: Path = typer.Option(),
    raw: Path = typer.Option(),
    scratch: Path = typer.Option(),
    store: Path = typer.Option(),
    out: Path = typer.Option(),
    metrics_out: Path = typer.Option(),
) -> None:
    p = Params.load(recipe=recipe, variant=variant)
    train = SplitFiles(db, queries, raw / p.folder, p.images)
    val = SplitFiles(val_db, val_queries, raw / p.val_folder, p.val_images)
    read_data = partial(read_training_data, train, val, p.val_radius_m, p.train)
    inputs = (base, db, queries, val_db, val_queries)
    stored = cache_at(store, p.runtime, typer.echo)
    device = prepare(p.runtime)
    settings = p.train.resolved(device, typer.echo)
    values = p.model_dump(exclude={"runtime"}) | {"train": settings.model_dump()}
    kept = scratch_for(scratch, f"variant-{variant}", values, inputs)
    with joined(device) as group:
        tuner = FineTuner(read_data, settings, device, p.runtime, kept, stored, group, typer.echo)
        builder = VariantBuilder(train.open_database(), tuner, device, p.runtime)
        made = builder.build(read_model(base), read_history(base).get("steps", []), p.steps)
    if not group.is_first:
        return
    write_model(out, made.model, {"variant": variant, "steps": made.steps}, made.form)
    sizes = {"file_bytes": out.stat().st_size, "base_file_bytes": base.stat().st_size}
    write_json(metrics_out, {**sizes, "dimensions": made.model.dim, "steps": made.steps})
    kept.remove()
    typer.echo(
        f"{variant}: {sizes['file_bytes'] / 2**20:.2f} MiB, {made.model.dim} dimensions;"
        f" {base.name} has {sizes['base_file_bytes'] / 2**20:.2f} MiB"
    )


if __name__ == "__main__":
    launch.run(main)
