"""Recall@N: how often one of the N nearest images shows the place of the query."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, field_validator

from vprlib.geo import chance_recall
from vprlib.params import Section, UserError
from vprlib.truth import Truth

Denominator = Literal["all", "answerable"]
Protocol = Literal["plain"]  # the N nearest images as they come
RadiusOrOwn = Annotated[float, Field(gt=0, allow_inf_nan=False)] | None  # null: the set's own
NEAR_CHANCE = 1.5  # times the blind guess: hardly a result


class RecallSettings(Section):
    """What is counted; changing it runs `recall` alone."""

    ns: tuple[int, ...] = Field((1, 5, 10, 20), min_length=1)
    # all: every query counts; answerable: only those with a right image in the database
    denominator: Denominator = "all"

    @field_validator("ns")
    @classmethod
    def _rising(cls, ns: tuple[int, ...]) -> tuple[int, ...]:
        if min(ns) < 1:
            raise ValueError(f"every N should be at least 1, but one is {min(ns)}")
        return tuple(sorted(set(ns)))


@dataclass(frozen=True)
class Result:
    right: np.ndarray  # [Q, K] whether each retrieved image shows the place
    metrics: dict[str, object]
    curve: list[tuple[int, float]]  # N and recall@N

    def sentence(self) -> str:
        recalls = "  ".join(f"recall@{n} {value:.3f}" for n, value in self.curve)
        without = self.metrics["queries_without_positive"]
        chance = self.metrics["chance_recall@1"]
        first = recall_at(self.right, [1])[1]
        doubt = (
            "; hardly better: are names and features in step?"
            if first <= NEAR_CHANCE * chance
            else ""
        )
        return (
            f"{self.metrics['queries']} queries ({without} without a positive)  {recalls}"
            f"  chance {chance:.3f}"
            f"{doubt if first <= NEAR_CHANCE * chance else ''}"
        )


def evaluate(neighbors: np.ndarray, truth: Truth, settings: RecallSettings) -> Result:
    """Recall of the retrieved rows [Q, K]."""
    right = truth.is_right(neighbors)
    positives = truth.counts()
    if not positives.any():
        raise UserError(
            "no query has a right database image: check radius_m of the data set in params.yaml,"
            " and that both sides use the same coordinates."
        )
    counted = positives > 0 if settings.denominator == "answerable" else positives >= 0
    recalls = recall_at(right[counted], settings.ns)
    metrics = {
        **{f"recall@{n}": value for n, value in recalls.items()},
        "queries": len(positives),
        "queries_without_positive": int((positives == 0).sum()),
        "denominator": settings.denominator,
        "chance_recall@1": chance_recall(positives, truth.database_size),
    }
    return Result(right, metrics, list(recalls.items()))


def recall_at(right: np.ndarray, ns: Sequence[int]) -> dict[int, float]:
    """N → share of the queries with a right image among their N nearest; `right` is [Q, K]."""
    if not right.size:
        return dict.fromkeys(ns, 0.0)
    found = np.maximum.accumulate(right, axis=1).mean(axis=0)
    return {n: float(found[min(n, right.shape[1]) - 1]) for n in ns}
