"""A map in Qdrant that the service answers from: its live version, whichever that is."""

import itertools
import shutil
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import typer

from vprlib.cli.choice import Choice, SetParams, choose
from vprlib.cli.finding.areas import in_circle
from vprlib.cli.finding.describers import describer
from vprlib.cli.maps.opened import FoundInMap, OpenMap, checked, described_in
from vprlib.cli.serving.answering import Answering, Asked, Circle, calibration_of, named
from vprlib.cli.serving.pinned import Pinned, home, link_files, stamp, surroundings
from vprlib.model.settings import Precision
from vprlib.pipeline.params import JsonObject, UserError
from vprlib.stores.area import Area
from vprlib.stores.store import Store, UnavailableError, Version, open_live

LOOK_S = 1.0  # between two looks at which version is live


class PinnedInMap(Pinned):
    """Its network and code are held by links, its descriptors lie in a map."""

    described_in: Precision

    def precision(self) -> Precision:
        return self.described_in


class StoredMap(Answering):
    """One version of a map in Qdrant."""

    def __init__(self, version: Version, choice: Choice, folder: Path, place: str) -> None:
        super().__init__(choice)
        self._end = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.params = p = SetParams.load(dataset=choice.dataset)
        link_files(choice, folder)
        pinned = PinnedInMap(*choice)
        pinned.folder, pinned.described_in = folder, described_in(version.facts)
        self.opened: OpenMap = checked(version, pinned, p.images, place)
        self.calibration = calibration_of(pinned)
        facts = version.facts
        self.version, self.dim, self.images = facts.version, facts.dim, facts.rows
        self.is_geographic = facts.is_geographic
        self.describe = describer(None, pinned, p, use_export=True).resident(p.runtime)

    def check_circle(self, circle: Circle) -> None:
        if not self.is_geographic:
            raise UserError("latitude and longitude of the map are not known: leave near out.")

    def _found(self, vectors: np.ndarray, asked: Sequence[Asked], depth: int) -> FoundInMap:
        circles: dict[Circle, Area] = {}
        for one in asked:
            if one.circle is not None and one.circle not in circles:
                circles[one.circle] = in_circle(*one.circle)
        areas = [None if one.circle is None else circles[one.circle] for one in asked]
        found = self.opened.nearest(vectors, depth, areas)
        for area, rows in zip(areas, found.neighbors.rows, strict=True):
            if area is not None and rows[0] < 0:
                raise UserError(f"no image of the map lies {area.title}.")
        return found

    def _image(self, row: int) -> str | None:
        return None


class StoreCatalogue:
    """Looks which version is live, and takes a newer one over whole, between two answers."""

    def __init__(self, store: Store, place: str, names: Sequence[str | None]) -> None:
        self._store, self._place, self._names = store, place, names
        self._home, self._numbers = home(), itertools.count()
        self._waiting: str | None = None
        self._refused: object = None  # what cannot be taken over, until a file of it changes
        self._map = self._read(open_live(store))
        self.default = self._map.choice
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="maps", daemon=True)
        self._thread.start()

    def get(self, dataset: str | None, variant: str | None, code: str | None) -> Answering:
        found = self._map
        for asked, own in zip((dataset, variant, code), found.choice, strict=True):
            if asked is not None and asked != own:
                raise UserError(f"this service answers from one map alone, {found.choice.title}.")
        return found

    def held(self, dataset: str, version: str) -> None:
        """No map with pictures."""

    def told(self) -> JsonObject:
        found = self._map
        about = found.told | {"since": found.since, "waiting": self._waiting}
        return {"default": named(found.choice), "maps": [about]}

    def close(self) -> None:
        self._stopped.set()
        self._thread.join()
        shutil.rmtree(self._home, ignore_errors=True)

    def _read(self, version: Version) -> StoredMap:
        facts = version.facts
        own = facts.dataset, facts.variant, facts.name
        choice = choose(*(given or name for given, name in zip(self._names, own, strict=True)))
        return StoredMap(version, choice, self._home / str(next(self._numbers)), self._place)

    def _watch(self) -> None:
        while not self._stopped.wait(LOOK_S):
            try:
                self._look()
            except (UserError, OSError, ValueError) as error:
                self._waiting = str(error)
            except Exception as error:
                self._waiting = f"it could not be read ({type(error).__name__})"
                typer.echo(f"{self._place}: {self._waiting}: {error}", err=True)

    def _look(self) -> None:
        live = self._store.live()
        if live is None or live == self._map.version:
            self._waiting = None if live else "no version is live"
            return
        seen = live, stamp(self._map.choice), surroundings()
        if seen == self._refused:
            return
        try:
            newer = self._read(self._store.open(live))
        except UserError as error:
            self._refused = None if isinstance(error, UnavailableError) else seen
            raise
        typer.echo(f"{self._place}: {self._map.version} → {newer.version}", err=True)
        self._map, self._waiting = newer, None
