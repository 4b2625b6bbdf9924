"""What training leaves to read."""

from types import SimpleNamespace

import numpy as np

from vprlib.train.log import COLUMNS, EpochLog, Outcome, plot, rows, sentence, summarise

RECALLS = {f"recall@{n}": n / 40 for n in (1, 5, 10, 20)}
START = EpochLog(0, None, None, None, RECALLS)
FIRST = EpochLog(1, 0.5, 1e-3, 0.25, {n: 2 * r for n, r in RECALLS.items()}, 0.125)


def test_the_start_has_no_loss_and_stands_first():
    assert list(rows([START, FIRST])) == [
        (0, "", "", "", 0.025, 0.125, 0.25, 0.5, ""),
        (1, 0.5, 1e-3, 0.25, 0.05, 0.25, 0.5, 1.0, 0.125),
    ]
    assert len(COLUMNS) == 9


def test_the_summary_counts_the_queries_left_out():
    trainable = SimpleNamespace(trainable=lambda: np.array([0, 2]))
    data = SimpleNamespace(
        candidates=trainable, train=SimpleNamespace(queries=SimpleNamespace(index=[0] * 5))
    )
    summary = summarise(Outcome(None, [START, FIRST], FIRST), data)
    assert (summary["queries"], summary["queries_left_out"]) == (2, 3)
    assert (summary["best_epoch"], summary["epochs"]) == (1, 1)
    assert "rank_loss" not in summary["val_start"] and summary["val_best"]["rank_loss"] == 0.125
    assert "best epoch 1 of 1, val recall@1 0.025 → 0.050" in sentence(summary)
    assert "3 queries without a possible triplet left out" in sentence(summary)


def test_the_picture_is_a_png_of_the_same_bytes_each_time():
    assert plot([START, FIRST]).startswith(b"\x89PNG") and plot([START]) == plot([START])
