"""What training leaves to read."""

from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.axes import Axes

from vprlib.places.geo import pairs_of
from vprlib.train import log
from vprlib.train.data import TrainingData
from vprlib.train.log import COLUMNS, EpochLog, Outcome, plot, rows, sentence, summarise
from vprlib.train.mining import Candidates

RECALLS = {f"recall@{n}": n / 40 for n in (1, 5, 10, 20)}
START = EpochLog(0, None, None, None, RECALLS)
FIRST = EpochLog(1, 0.5, 1e-3, 0.25, {n: 2 * r for n, r in RECALLS.items()}, 0.125)


def test_the_start_has_no_loss_and_stands_first():
    assert list(rows([START, FIRST])) == [
        (0, "", "", "", 0.025, 0.125, 0.25, 0.5, ""),
        (1, 0.5, 1e-3, 0.25, 0.05, 0.25, 0.5, 1.0, 0.125),
    ]
    assert len(COLUMNS) == 9


def test_an_epoch_without_validation_has_empty_recalls_and_is_not_plotted(monkeypatch):
    blind = EpochLog(2, 0.25, 1e-3, 0.125, {})
    assert list(rows([blind])) == [(2, 0.25, 1e-3, 0.125, "", "", "", "", "")]
    drawn = []
    whole = Axes.plot
    monkeypatch.setattr(Axes, "plot", lambda *a, **o: (drawn.append(a[1:]), whole(*a, **o))[1])
    assert plot([START, FIRST, blind]).startswith(b"\x89PNG")
    assert drawn == [([1, 2], [0.5, 0.25]), ([0, 1], [2.5, 5.0]), ([0, 1], [12.5, 25.0])]


def test_a_line_says_what_an_epoch_brought_and_how_long_the_rest_will_take(monkeypatch):
    lines, clock = [], iter([0.0, 3.0, 3.0, 27.0, 27.0, 91.0, 91.0])
    monkeypatch.setattr(log, "has_terminal", lambda: False)
    monkeypatch.setattr(log.time, "monotonic", lambda: next(clock))
    say = log.EpochLines(10, lines.append)
    for row in (START, FIRST, EpochLog(2, 0.25, 1e-3, 0.125, {})):
        say(row)
    assert lines == [
        "epoch 0/10: recall@1 0.025  recall@5 0.125  3 s",
        "epoch 1/10: loss 0.5000  recall@1 0.050  recall@5 0.250  24 s  (3 min 36 s left)",
        "epoch 2/10: loss 0.2500  1 min 4 s  (5 min 52 s left)",
    ]
    assert log.duration(7261) == "2 h 1 min"


def test_no_line_is_said_where_a_progress_bar_is_shown(monkeypatch):
    monkeypatch.setattr(log, "has_terminal", lambda: True)
    log.EpochLines(10, lambda line: pytest.fail(line))(FIRST)


def test_the_summary_counts_the_queries_left_out():
    rows = [np.array(found, np.int64) for found in ([4], [], [7], [], [])]
    allowed = Candidates(pairs_of(rows), pairs_of(rows), 9)
    train = SimpleNamespace(queries=SimpleNamespace(index=[0] * 5))
    data = TrainingData(train, allowed, None, None)
    summary = summarise(Outcome(None, [START, FIRST], FIRST), data, "bfloat16")
    assert (summary["queries"], summary["queries_left_out"]) == (2, 3)
    assert (summary["best_epoch"], summary["epochs"]) == (1, 1)
    assert "rank_loss" not in summary["val_start"] and summary["val_best"]["rank_loss"] == 0.125
    assert summary["precision"] == "bfloat16"
    assert "training in bfloat16: best epoch 1 of 1, val recall@1 0.025 → 0.050" in sentence(
        summary
    )
    assert "3 queries without a possible triplet left out" in sentence(summary)


def test_the_picture_is_a_png_of_the_same_bytes_each_time():
    assert plot([START, FIRST]).startswith(b"\x89PNG") and plot([START]) == plot([START])
