"""What each run of a set gains over each other one, by the statistics of `vpr compare`."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations

import numpy as np

from vprlib.cli.comparison.compare import kept_ns
from vprlib.cli.comparison.stats import change
from vprlib.cli.report.results import Params, Result
from vprlib.cli.report.second import ADDED
from vprlib.pipeline.params import JsonObject


def differences(results: Sequence[Result], first: int, p: Params) -> list[JsonObject]:
    """One entry for two runs, numbered from `first`; the page turns its signs for the other way."""
    numbered = [(first + n, r) for n, r in enumerate(results) if r.incomparable is None]
    if len(numbered) < 2:
        return []
    ns = kept_ns(p.recall.ns, [result.run for _, result in numbered])
    place = results[0].run.locations(p.interval.location_m)  # of all: the queries are the same
    return [
        {"from": a, "to": b, "at": {n: _at(n, one, other, place, p) for n in ns}}
        for (a, one), (b, other) in combinations(numbered, 2)
    ]


def _at(n: int, a: Result, b: Result, place: np.ndarray, p: Params) -> JsonObject:
    run, look = a.run, b.second_look
    found = change(run.found(n), b.run.found(n), run.counted, place, p.interval, p.compare)
    difference = asdict(found.difference)
    if look is not None and b.name == f"{a.name} {ADDED}":  # as its stage says
        difference = {key: look.metrics["difference"][f"recall@{n}"][key] for key in difference}
    return difference | {kind: len(rows) for kind, rows in found.queries.items()}
