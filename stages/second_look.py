"""Says whether a second look helps on a set, and how sure inliers make an answer."""

from typing import Annotated

import typer

from vprlib.evaluate.confidence import ConfidenceSettings, thresholds_of
from vprlib.evaluate.intervals import IntervalSettings
from vprlib.evaluate.predictions import read_judgement
from vprlib.evaluate.recall import RecallSettings
from vprlib.pipeline import command, paths
from vprlib.pipeline.artifacts import write_json
from vprlib.pipeline.params import At, StageParams
from vprlib.verify.judge import AGAIN, judge, scored_by, sentence
from vprlib.verify.rerank import read_reranked


class Params(StageParams):
    recall: Annotated[RecallSettings, At("recall")]
    interval: Annotated[IntervalSettings, At("interval")]
    confidence: Annotated[ConfidenceSettings, At("confidence")]


def main(dataset: str, variant: str, code: str) -> None:
    p, names = Params.load(), (dataset, variant, code)
    made = read_judgement(paths.predictions(*names), paths.index(dataset, "db").parent)
    again = read_reranked(paths.reranked(*names), made.found)
    scored = scored_by(made, again, p.confidence)
    found = judge(made, again, scored, p.recall, p.interval, p.confidence.precisions)
    thresholds = thresholds_of(scored[AGAIN], p.confidence.precisions)
    write_json(paths.inlier_thresholds(*names), vars(thresholds))
    write_json(paths.result_metrics("rerank", *names), found)
    typer.echo(f"{dataset}, {variant}, {code}: {sentence(found)}")


if __name__ == "__main__":
    command.run(main)
