"""What a home of maps can do, be it a folder or a cluster."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vprlib.pipeline.params import JsonObject, UserError
from vprlib.stores.area import Area
from vprlib.stores.facts import Facts

PAGE = 10_000  # row numbers that are asked for at once


class UnavailableError(UserError):
    """A server is away, slow or full: later it may answer."""


@dataclass(frozen=True)
class Hit:
    """A row near a query, by the engine's rounded distance."""

    row: int
    distance: float
    numbers: np.ndarray  # as the engine keeps them
    payload: JsonObject


class Version(Protocol):
    """One version of a map, open."""

    facts: Facts

    def count(self) -> int: ...

    def stored(self) -> np.ndarray:
        """The rows that are there, rising."""
        ...

    def write(self, rows: np.ndarray, numbers: np.ndarray, payloads: Sequence[JsonObject]) -> None:
        """Rows that are there already are replaced; what it returns from outlives a kill."""
        ...

    def finish(self) -> None:
        """All rows are there: builds what speeds search up, if the map wants it."""
        ...

    def search(
        self, numbers: np.ndarray, count: int, area: Area | None, exact: bool
    ) -> list[list[Hit]]:
        """The nearest of each query, nearest first."""
        ...

    def close(self) -> None: ...


class Store(Protocol):
    """The home of one map, which has versions; at most one of them is live."""

    title: str

    def versions(self) -> list[str]:
        """Of a home that holds none, an empty list; what is no home is refused."""
        ...

    def live(self) -> str | None: ...

    def open(self, version: str) -> Version: ...

    def growing(self, facts: Facts) -> Version:
        """The version of these facts to be written to; made if it is missing."""
        ...

    def point(self, version: str) -> None:
        """Makes a version the live one, in one step."""
        ...

    def remove(self, version: str) -> None: ...


def whole(store: Store, version: str) -> Facts:
    """The facts of a version that has all its rows."""
    _check_known(store, version)
    opened = store.open(version)
    try:
        count, facts = opened.count(), opened.facts
    finally:
        opened.close()
    if count != facts.rows:
        raise UserError(
            f"version {version} of {store.title} has {count} of {facts.rows} rows: run the same"
            " `vpr map push` again, which goes on."
        )
    return facts


def switch(store: Store, version: str) -> Facts:
    """Takes a whole version over."""
    facts = whole(store, version)
    store.point(version)
    return facts


def drop(store: Store, version: str) -> None:
    _check_known(store, version)
    if store.live() == version:
        raise UserError(
            f"version {version} of {store.title} is live: `vpr map switch` to another one first."
        )
    store.remove(version)


def _check_known(store: Store, version: str) -> None:
    if version not in (known := store.versions()):
        there = f"it has {', '.join(known)}" if known else "it has none"
        raise UserError(f"{store.title} has no version '{version}': {there}.")


def open_live(store: Store) -> Version:
    """The version that is live now."""
    if (version := store.live()) is None:
        known = store.versions()
        remedy = "`vpr map switch` to one of them" if known else "fill it by `vpr map push`"
        raise UserError(
            f"{store.title} has {len(known)} versions, and none of them is live: {remedy}."
        )
    return store.open(version)
