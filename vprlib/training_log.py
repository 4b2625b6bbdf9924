"""What training leaves to read: a row an epoch, a summary, a picture."""

from collections.abc import Iterator, Mapping, Sequence

from vprlib.plots import training_curves
from vprlib.training import EpochLog, Outcome
from vprlib.training_data import TrainingData
from vprlib.validation import VALIDATION_NS

_RECALLS = tuple(f"recall@{n}" for n in VALIDATION_NS)
COLUMNS = ("epoch", "loss", "learning_rate", "violating", *_RECALLS, "rank_loss")


def rows(log: Sequence[EpochLog]) -> Iterator[tuple[object, ...]]:
    """One row an epoch, beneath COLUMNS; epoch 0 has no loss."""
    for row in log:
        recalls = (row.recalls[name] for name in _RECALLS)
        values = (row.epoch, row.loss, row.learning_rate, row.violating, *recalls, row.rank_loss)
        yield tuple("" if value is None else value for value in values)


def summarise(outcome: Outcome, data: TrainingData) -> dict[str, object]:
    trained = len(data.candidates.trainable())
    return {
        "best_epoch": outcome.best.epoch,
        "epochs": outcome.log[-1].epoch,
        "queries": trained,
        "queries_left_out": len(data.train.queries.index) - trained,
        "val_start": _validation(outcome.log[0]),
        "val_best": _validation(outcome.best),
    }


def _validation(row: EpochLog) -> dict[str, float]:
    return row.recalls | ({} if row.rank_loss is None else {"rank_loss": row.rank_loss})


def plot(log: Sequence[EpochLog]) -> bytes:
    recalls = {name: [row.recalls[name] for row in log] for name in _RECALLS[:2]}
    return training_curves([row.epoch for row in log], [row.loss for row in log], recalls)


def sentence(summary: Mapping[str, object]) -> str:
    start, best = summary["val_start"], summary["val_best"]
    left_out = summary["queries_left_out"]
    return (
        f"training: best epoch {summary['best_epoch']} of {summary['epochs']},"
        f" val recall@1 {start['recall@1']:.3f} → {best['recall@1']:.3f},"
        f" recall@5 {start['recall@5']:.3f} → {best['recall@5']:.3f};"
        f" {left_out} queries without a possible triplet left out"
    )
