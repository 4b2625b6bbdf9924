"""Finds the scores from which on answers are sure, on the set that calibrates."""

from typing import Annotated

import typer

from vprlib.evaluate.confidence import ConfidenceSettings, calibrate, score_set
from vprlib.evaluate.predictions import read_judgement
from vprlib.pipeline import command, paths
from vprlib.pipeline.artifacts import write_json
from vprlib.pipeline.params import At, StageParams


class Params(StageParams):
    settings: Annotated[ConfidenceSettings, At("confidence")]


def main(dataset: str, variant: str, code: str) -> None:
    p = Params.load()
    path = paths.predictions(dataset, variant, code)
    scored = read_judgement(path, paths.index(dataset, "db").parent)
    judged = score_set(scored, p.settings.score, p.settings.distinct_m)
    found = calibrate(judged, p.settings, scored.frames)
    write_json(paths.calibration(variant, code), vars(found))
    shown = ", ".join(
        f"{precision} % {'not reached' if threshold is None else f'from {threshold:.3f}'}"
        for precision, threshold in found.thresholds.items()
    )
    typer.echo(f"{variant}, {code}: {p.settings.score} on {judged.set_name}: {shown}")


if __name__ == "__main__":
    command.run(main)
