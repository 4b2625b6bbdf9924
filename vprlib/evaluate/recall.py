"""Recall@N: how often one of the N nearest images shows the place of the query."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, field_validator

from vprlib.pipeline.params import JsonObject, Section, UserError
from vprlib.places.geo import chance_recall
from vprlib.places.truth import Truth, is_right, recall_at
from vprlib.search.sequences import SequenceSettings

Denominator = Literal["all", "answerable"]
# plain: the N nearest images as they come; tokyo247: one a panorama; tokyoTM: none of the query's
# own time; ranked: the whole database in order, judged by mAP too; sessions: none of the query's
# own session, if it has one
Protocol = Literal["plain", "tokyo247", "tokyoTM", "ranked", "sessions"]
NEAR_CHANCE = 1.5  # times the blind guess: hardly a result
KEPT = 20  # predictions hold at least so many, as a submission wants them
LONGEST_RANGE = 1000
LEFT_OUT = {
    "queries_left_out": "queries could not be read and count as wrong",
    "database_left_out": "database images could not be read and are never found",
}
_RANGE = re.compile(r"\s*(\d+)\s*:\s*(?:(\d+)\s*:\s*)?(\d+)\s*")


class RecallSettings(Section):
    """What is counted; changing it runs `recall` alone."""

    # numbers, and ranges as MATLAB writes them: '1:5', '10:5:100'
    ns: tuple[Annotated[int, Field(le=10**6)], ...] = Field((1, 5, 10, 20), min_length=1)
    # all: every query counts; answerable: only those with a right image in the database
    denominator: Denominator = "all"
    sequence: SequenceSettings = SequenceSettings()  # for queries of a video or a drive

    @field_validator("ns", mode="before")
    @classmethod
    def _expanded(cls, ns: object) -> object:
        if not isinstance(ns, list | tuple):
            return ns
        for item in ns:
            if isinstance(item, bool):
                raise ValueError(f"every N should be a number, but one is {str(item).lower()}")
        return [n for item in ns for n in (_range(item) if isinstance(item, str) else [item])]

    @field_validator("ns")
    @classmethod
    def _rising(cls, ns: tuple[int, ...]) -> tuple[int, ...]:
        if min(ns) < 1:
            raise ValueError(f"every N should be at least 1, but one is {min(ns)}")
        return tuple(sorted(set(ns)))

    @property
    def columns(self) -> int:
        """How many neighbours of a query are kept."""
        return max(KEPT, *self.ns)

    def rules(self, protocol: Protocol) -> str:
        """How is counted, in a few words."""
        frames = self.sequence.frames
        return protocol if frames == 1 else f"{protocol}, sequences of {frames} frames"


def _range(text: str) -> range:
    """'first:last' or 'first:step:last', the last included."""
    match = _RANGE.fullmatch(text)
    first, step, last = (int(part or 1) for part in match.groups()) if match else (1, 0, 0)
    if step < 1 or last < first:
        raise ValueError(
            f"'{text}' is no range such as '1:5' (from 1 to 5) or '10:5:100' (in steps of 5)"
        )
    count = (last - first) // step + 1
    if count > LONGEST_RANGE:
        raise ValueError(f"'{text}' has {count} values, but {LONGEST_RANGE} are the most")
    return range(first, last + 1, step)


@dataclass(frozen=True)
class Result:
    right: np.ndarray  # [Q, K] whether each retrieved image shows the place
    counted: np.ndarray  # [Q] whether the query is in the denominator
    metrics: JsonObject  # a mapping inside holds the recalls of a part of the queries
    curve: list[tuple[int, float]]  # N and recall@N
    ends: Sequence[tuple[float, float]] = ()  # of the interval of each recall in the curve
    parts: Mapping[str, np.ndarray] = field(default_factory=dict)  # name → [Q] counted in it

    def sentence(self) -> str:
        m = self.metrics
        ends = [f" [{low:.3f}, {high:.3f}]" for low, high in self.ends] or [""] * len(self.curve)
        recalls = "".join(
            f"  recall@{n} {value:.3f}{between}"
            for (n, value), between in zip(self.curve, ends, strict=True)
        )
        precision = f"  map {m['map']:.3f}" if "map" in m else ""
        parts = "".join(
            f"  {name} {'/'.join(f'{part[recall]:.3f}' for recall in named(dict(self.curve)))}"
            for name, part in m.items()
            if isinstance(part, dict)
        )
        if not m["queries"]:
            return "no query, so nothing is known"
        if "new_session@1" in m:
            wide = f"[{m['new_session@1_low']:.3f}, {m['new_session@1_high']:.3f}]"
            parts += f"  on a new day or drive {m['new_session@1']:.3f} {wide}"
        if "median_error_m" in m:
            error = m["median_error_m"]
            parts += f"  median error {'unknown' if error is None else f'{error:.1f} m'}"
        left_out = "".join(f"; {m[of]} {words}" for of, words in LEFT_OUT.items() if m.get(of))
        places = f" at {m['locations']} locations" if "locations" in m else ""
        return (
            f"{m['queries']} queries{places} ({m['queries_without_positive']} without a positive)"
            f"{recalls}{precision}{parts}  chance {m['chance_recall@1']:.3f}{left_out}"
        )

    @property
    def is_near_chance(self) -> bool:
        return (
            len(self.right) > 0
            and recall_at(self.right, [1])[1] <= NEAR_CHANCE * self.metrics["chance_recall@1"]
        )


def evaluate(neighbors: np.ndarray, truth: Truth, settings: RecallSettings) -> Result:
    """Recall of the retrieved rows [Q, K]; -1 where nothing was retrieved."""
    right = is_right(neighbors, truth)
    positives = truth.counts()
    if len(positives) and not positives.any():
        raise UserError(
            "no query has a right database image: check radius_m of the data set in params.yaml,"
            " and that both sides use the same coordinates."
        )
    counted = positives > 0 if settings.denominator == "answerable" else positives >= 0
    recalls = recall_at(right[counted], settings.ns) if len(positives) else {}
    metrics = {
        **named(recalls),
        "queries": len(positives),
        "queries_without_positive": int((positives == 0).sum()),
        "denominator": settings.denominator,
        "chance_recall@1": chance_recall(positives, truth.allowed),
    }
    return Result(right, counted, metrics, list(recalls.items()))


def named(recalls: dict[int, float]) -> dict[str, float]:
    return {f"recall@{n}": value for n, value in recalls.items()}
