"""What training reports: its table, its plot, its summary and scalars for TensorBoard."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from vprlib.model.model import PlaceModel
from vprlib.pipeline.params import JsonObject, UserError
from vprlib.pipeline.progress import has_terminal
from vprlib.train.data import TrainingData
from vprlib.train.validation import VALIDATION_NS

_RECALLS = tuple(f"recall@{n}" for n in VALIDATION_NS)
COLUMNS = ("epoch", "loss", "learning_rate", "violating", *_RECALLS, "rank_loss")


@dataclass(frozen=True)
class EpochLog:
    """One row of the log; epoch 0 is the network before training."""

    epoch: int
    loss: float | None
    learning_rate: float | None
    # share of the mined negatives that violate the margin, or of the images with a pair kept
    violating: float | None
    recalls: dict[str, float]  # empty if the epoch was not validated
    rank_loss: float | None = None

    @property
    def score(self) -> tuple[float, float]:
        return self.recalls["recall@5"], self.recalls["recall@1"]


@dataclass(frozen=True)
class Outcome:
    model: PlaceModel
    log: list[EpochLog]
    best: EpochLog


def rows(log: Sequence[EpochLog]) -> Iterator[tuple[object, ...]]:
    """One row an epoch, beneath COLUMNS; empty where there is no loss or no validation."""
    for row in log:
        recalls = (row.recalls.get(name) for name in _RECALLS)
        values = (row.epoch, row.loss, row.learning_rate, row.violating, *recalls, row.rank_loss)
        yield tuple("" if value is None else value for value in values)


def summarise(outcome: Outcome, data: TrainingData, precision: str) -> JsonObject:
    return {
        "best_epoch": outcome.best.epoch,
        "epochs": outcome.log[-1].epoch,
        "precision": precision,
        **data.counts(),
        "val_start": _validation(outcome.log[0]),
        "val_best": _validation(outcome.best),
    }


def _validation(row: EpochLog) -> dict[str, float]:
    return row.recalls | ({} if row.rank_loss is None else {"rank_loss": row.rank_loss})


def plot(log: Sequence[EpochLog]) -> bytes:
    """Loss on the left, validation recall on the right, both by epoch."""
    from matplotlib.figure import Figure  # here: variants train, and draw nothing

    from vprlib.pipeline.arrays import figure_png

    figure = Figure(figsize=(8, 3.6), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2)
    learnt = [row for row in log if row.loss is not None]
    left.plot([row.epoch for row in learnt], [row.loss for row in learnt], marker="o")
    left.set(xlabel="epoch", ylabel="loss", title="training")
    validated = [row for row in log if row.recalls]
    epochs = [row.epoch for row in validated]
    for name in _RECALLS[:2]:
        values = [100 * row.recalls[name] for row in validated]
        right.plot(epochs, values, marker="o", label=name)
    right.set(xlabel="epoch", ylabel="recall (%)", title="validation", ylim=(0, 105))
    right.legend()
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
    return figure_png(figure)


def sentence(summary: JsonObject) -> str:
    start, best = summary["val_start"], summary["val_best"]
    left_out = f"{summary.get('queries_left_out')} queries without a possible triplet left out"
    if "images_left_out" in summary:
        left_out = f"{summary['images_left_out']} images left out, which are in no place"
    if "images_unread" in summary:
        left_out = f"{summary['images']} images learnt from, {summary['images_unread']} unreadable"
    return (
        f"training in {summary['precision']}: best epoch {summary['best_epoch']}"
        f" of {summary['epochs']},"
        f" val recall@1 {start['recall@1']:.3f} → {best['recall@1']:.3f},"
        f" recall@5 {start['recall@5']:.3f} → {best['recall@5']:.3f};"
        f" {left_out}"
    )


class EpochLines:
    """Says a line after each epoch, unless there is a terminal, where progress bars are shown."""

    def __init__(self, epochs: int, say: Callable[[str], None]) -> None:
        self.epochs, self.say = epochs, say
        self.last = time.monotonic()
        self.seconds: list[float] = []  # of the epochs of this run that learnt

    def __call__(self, row: EpochLog) -> None:
        took, self.last = time.monotonic() - self.last, time.monotonic()
        values = {} if row.loss is None else {"loss": f"{row.loss:.4f}"}
        values |= {name: f"{row.recalls[name]:.3f}" for name in _RECALLS[:2] if row.recalls}
        parts = [f"{name} {value}" for name, value in values.items()] + [duration(took)]
        left = self.epochs - row.epoch
        if row.epoch:
            self.seconds.append(took)
        if left > 0 and self.seconds:
            parts.append(f"({duration(left * sum(self.seconds) / len(self.seconds))} left)")
        if not has_terminal():
            self.say(f"epoch {row.epoch}/{self.epochs}: {'  '.join(parts)}")


def duration(seconds: float) -> str:
    """Such as '2 min 50 s'."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


OnEpoch = Callable[[EpochLog], None]


@contextmanager
def open_scalars(folder: Path, is_wanted: bool) -> Iterator[OnEpoch]:
    """What is to be called after each epoch; it does nothing unless wanted.

    A run that goes on begins its curves anew, with all epochs before the interruption.
    """
    if not is_wanted:
        yield lambda row: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError(
            "params.yaml: runtime.tensorboard is true, but TensorBoard is not installed:"
            " run `pip install tensorboard`, or set it to false."
        ) from None
    shutil.rmtree(folder, ignore_errors=True)
    writer = SummaryWriter(str(folder))

    def write(row: EpochLog) -> None:
        known = {"loss": row.loss, "learning_rate": row.learning_rate, "violating": row.violating}
        for name, value in {**known, **row.recalls, "rank_loss": row.rank_loss}.items():
            if value is not None:
                writer.add_scalar(name, value, row.epoch)
        writer.flush()

    with closing(writer):
        yield write
