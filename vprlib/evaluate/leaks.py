"""Whether what is evaluated stayed out of training: the same images, copies, and places."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property

import numpy as np
from pydantic import Field

from vprlib.images.fingerprints import Fingerprints
from vprlib.images.hashes import ImageHashes, are_alike, join_hashes
from vprlib.pipeline.params import Metres, Section, UserError
from vprlib.places.geo import nearest_m

PROJECTED_M = 100_000.0  # UTM and its like are this far from their origin, a plan of a site is not


class AuditSettings(Section):
    """The `audit` section."""

    radius_m: Metres = 25.0  # an evaluated image this near one of training leaks
    # images that differ in at most so many of 256 bits are copies; strangers differ in about 127
    alike_bits: int = Field(40, ge=0, le=128)
    fatal: bool = False  # stop at a leak


@dataclass(frozen=True)
class Audited:
    """A set with all that is compared of it."""

    folder: str  # below data/raw
    database: Fingerprints
    queries: Fingerprints

    @property
    def name(self) -> str:
        return self.database.set_name

    @cached_property
    def digests(self) -> np.ndarray:
        return np.concatenate([self.database.digests, self.queries.digests])

    @cached_property
    def positions(self) -> np.ndarray:
        return np.concatenate([self.database.positions, self.queries.positions])

    @cached_property
    def hashes(self) -> ImageHashes:
        return join_hashes([self.database.hashes, self.queries.hashes])

    def is_elsewhere(self, other: "Audited") -> bool:
        """Whether positions of both cannot be compared: not known, or another origin.

        Sets in one folder share their coordinates; so do sets in metres of a map projection.
        """
        if not all(np.isfinite(s.positions).any() for s in (self, other)):
            return True
        return self.folder != other.folder and not all(
            (np.abs(np.nanmedian(s.positions, axis=0)) > PROJECTED_M).all() for s in (self, other)
        )


@dataclass(frozen=True)
class Overlap:
    """What one set has in common with another; None where positions cannot be compared."""

    queries_same: int  # byte for byte an image of the other set, on either side
    database_same: int
    queries_alike: int  # not that, but a copy: encoded anew, resized, brightened
    database_alike: int
    # within the radius of an image of the other set, on either side
    queries_near: int | None = None
    database_near: int | None = None
    queries_near_database: int | None = None  # of these, the queries near the other's database
    nearest_m: float | None = None  # between any two images


@dataclass(frozen=True)
class Audit:
    """What was found, and what it means."""

    evaluated: str
    train: str
    val: str
    with_train: Overlap
    with_val: Overlap | None  # None: the evaluated set is the validation set
    val_with_train: Overlap
    leaks: list[str]
    remarks: list[str]

    def metrics(self) -> dict[str, object]:
        return {**asdict(self), "leaks": len(self.leaks), "said": self.leaks}

    def verdict(self) -> str:
        """What `vpr table` says below the recalls; nothing where nothing leaks."""
        return f"LEAK: {'; '.join(self.leaks)}" if self.leaks else ""

    def sentence(self) -> str:
        found = self.verdict() or f"nothing of {self.evaluated} leaks from {self.train}"
        return "; ".join([found, *self.remarks])


def overlap(these: Audited, others: Audited, settings: AuditSettings) -> Overlap:
    sides = (these.queries, these.database)
    same = [np.isin(side.digests, others.digests) for side in sides]
    alike = [are_alike(side.hashes, others.hashes, settings.alike_bits) for side in sides]
    copies = [a & ~s for a, s in zip(alike, same, strict=True)]
    counts = [int(found.sum()) for found in (*same, *copies)]
    if these.is_elsewhere(others):
        return Overlap(*counts)
    metres = [nearest_m(side.positions, others.positions) for side in sides]
    to_database = nearest_m(these.queries.positions, others.database.positions)
    near = [int((m <= settings.radius_m).sum()) for m in (*metres, to_database)]
    return replace(
        Overlap(*counts),
        queries_near=near[0],
        database_near=near[1],
        queries_near_database=near[2],
        nearest_m=float(np.concatenate(metres).min()),
    )


def audit(evaluated: Audited, train: Audited, val: Audited, settings: AuditSettings) -> Audit:
    """Compares the evaluated set with the training set and the validation set."""
    with_train = overlap(evaluated, train, settings)
    with_val = None if evaluated.name == val.name else overlap(evaluated, val, settings)
    val_with_train = overlap(val, train, settings)
    leaks = [
        *_shared(evaluated, train, with_train),
        *_near(evaluated, train, with_train, settings.radius_m),
        *(_shared(evaluated, val, with_val) if with_val else ()),
        *_shared(val, train, val_with_train),
    ]
    remarks = []
    if with_val is None:
        remarks.append(f"{val.name} was used to judge the epochs")
    else:
        remarks += _near(evaluated, val, with_val, settings.radius_m)
    remarks += _near(val, train, val_with_train, settings.radius_m)
    names, found = (evaluated.name, train.name, val.name), (with_train, with_val, val_with_train)
    # the validation set itself, evaluated, says it twice
    leaks, remarks = list(dict.fromkeys(leaks)), list(dict.fromkeys(remarks))
    return Audit(*names, *found, leaks, remarks)


def refuse(found: Audit, fatal: bool) -> None:
    if fatal and found.leaks:
        raise UserError(
            f"{found.verdict()}; audit.fatal forbids it: take these out of the sets, or set"
            " audit.fatal to false."
        )


def _shared(these: Audited, others: Audited, found: Overlap) -> Iterator[str]:
    for what, queries, database in (
        ("also in", found.queries_same, found.database_same),
        ("copied in", found.queries_alike, found.database_alike),
    ):
        counts = [
            f"{'all ' if count == len(side) else ''}{count} {called}"
            for count, side, called in (
                (queries, these.queries, "queries"),
                (database, these.database, "database images"),
            )
            if count
        ]
        if counts:
            yield f"{' and '.join(counts)} of {these.name} are {what} {others.name}"


def _near(these: Audited, others: Audited, found: Overlap, radius_m: float) -> Iterator[str]:
    if found.queries_near or found.database_near:
        yield (
            f"{found.queries_near} queries and {found.database_near} database images of"
            f" {these.name} are within {radius_m:g} m of {others.name}"
        )
