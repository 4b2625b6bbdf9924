"""Makes a smaller or faster network from another, by the steps of its entry in variant_defs."""

from functools import partial
from typing import Annotated

import typer

from vprlib.compress.settings import Step
from vprlib.compress.variants import FineTuner, VariantBuilder
from vprlib.model.device import prepare
from vprlib.model.model import read_history, read_model
from vprlib.pipeline import launch, paths
from vprlib.pipeline.artifacts import write_json
from vprlib.pipeline.cache import cache_at
from vprlib.pipeline.group import joined
from vprlib.pipeline.params import At
from vprlib.pipeline.resume import scratch_for
from vprlib.train.data import TrainingParams, read_training_data


class Params(TrainingParams):
    steps: Annotated[list[Step], At("variant_defs.{variant}")]


def main(variant: str, base: str, training: str, validation: str) -> None:
    p = Params.load(variant=variant, training=training, validation=validation)
    train, val = p.files(training, validation)
    read_data = partial(read_training_data, train, val, p.val_radius_m, p.train)
    source, out = paths.model(base), paths.model(variant)
    inputs = (source, *p.teacher_files, *train.indices, *val.indices)
    stored = cache_at(paths.CACHE, p.runtime, typer.echo)
    device = prepare(p.runtime)
    settings = p.train.resolved(device, typer.echo)
    values = p.model_dump(exclude={"runtime"}) | {"train": settings.model_dump()}
    kept = scratch_for(paths.SCRATCH, f"variant-{variant}", values, inputs)
    with joined(device) as group:
        tuner = FineTuner(read_data, settings, device, p.runtime, kept, stored, group, typer.echo)
        builder = VariantBuilder(train.open().database, tuner)
        made = builder.build(read_model(source), read_history(source).get("steps", []), p.steps)
    if not group.is_first:
        return
    made.write(out, variant)
    sizes = {"file_bytes": out.stat().st_size, "base_file_bytes": source.stat().st_size}
    facts = {**sizes, "dimensions": made.model.dim, "steps": made.steps}
    write_json(paths.metrics("variants", variant), facts)
    kept.remove()
    typer.echo(
        f"{variant}: {sizes['file_bytes'] / 2**20:.2f} MiB, {made.model.dim} dimensions;"
        f" {base} has {sizes['base_file_bytes'] / 2**20:.2f} MiB"
    )


if __name__ == "__main__":
    launch.run(main)
