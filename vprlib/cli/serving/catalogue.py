"""The maps of the service: read when first asked for, and taken over whole when they change."""

import itertools
import shutil
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

import typer

from vprlib.cli.choice import Choice, choose
from vprlib.cli.options import InUse
from vprlib.cli.serving.answering import named
from vprlib.cli.serving.maps import Map, of_unread
from vprlib.cli.serving.pinned import Stamp, files_of, home, stamp, surroundings
from vprlib.cli.serving.recorded import Recorded
from vprlib.pipeline.params import JsonObject, UserError
from vprlib.pipeline.paths import descriptors

LOOK_S = 1.0  # between two looks at the files
MOST = 4  # maps in memory; the one used longest ago goes first


@dataclass
class _Slot:
    map: Map
    seen: object  # the stamps of the files that it is of, or that could not be taken over
    waiting: str | None = None  # why not


@dataclass
class Catalogue:
    default: Choice
    _slots: OrderedDict[Choice, _Slot] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _reading: threading.Lock = field(default_factory=threading.Lock)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._home: Path = home()
        self.get(*self.default)
        self._thread = threading.Thread(target=self._watch, name="maps", daemon=True)
        self._thread.start()

    def get(self, dataset: str | None, variant: str | None, code: str | None) -> Map:
        """A map; what is not named is as in the default. It may be read now, which takes time."""
        if (dataset, variant, code) == (None, None, None):
            choice = self.default
        else:
            own = self.default
            choice = choose(dataset or own[0], variant or own[1], code or own[2])
        if (found := self._get(choice)) is not None:
            return found
        with self._reading:  # one at a time; others are answered meanwhile
            if (found := self._get(choice)) is not None:
                return found
            slot = self._read(choice)
            with self._lock:
                self._slots[choice] = slot
                while len(self._slots) > MOST:
                    del self._slots[next(c for c in self._slots if c != self.default)]
            return slot.map

    def _get(self, choice: Choice) -> Map | None:
        with self._lock:
            if choice not in self._slots:
                return None
            self._slots.move_to_end(choice)
            return self._slots[choice].map

    def held(self, dataset: str, version: str) -> Map | None:
        """A map in memory of that version."""
        with self._lock:
            maps = [slot.map for slot in self._slots.values()]
        fit = (m for m in maps if (m.choice.dataset, m.version) == (dataset, version))
        return next(fit, None)

    def told(self) -> JsonObject:
        """All maps that can be asked; `since` and `waiting` are of those in memory."""
        p = InUse.load()
        names = itertools.product(p.eval_on, p.variants, p.codes)
        every = [Choice(*n) for n in names if descriptors(*n, "db").exists()]
        with self._lock:
            slots = dict(self._slots)
        maps = []
        for choice in dict.fromkeys([*slots, *every]):
            about = named(choice)
            if (slot := slots.get(choice)) is not None:
                about |= slot.map.told | {"since": slot.map.since, "waiting": slot.waiting}
            else:
                about |= of_unread(choice)
            maps.append(about)
        return {"default": named(self.default), "maps": maps}

    def close(self) -> None:
        self._stopped.set()
        self._thread.join()
        with self._lock:
            self._slots.clear()
        shutil.rmtree(self._home, ignore_errors=True)

    def _read(self, choice: Choice) -> _Slot:
        now = _seen(choice)
        found = Map(choice, self._home / str(next(self._numbers)), now[0])
        if _seen(choice) != now:
            raise UserError(f"the files of {choice.title} are changing: try again later.")
        return _Slot(found, now)

    def _watch(self) -> None:
        while not self._stopped.wait(LOOK_S):
            with self._lock:
                slots = dict(self._slots)
            for choice, slot in slots.items():
                try:
                    self._look(choice, slot)
                except Exception as error:
                    slot.waiting = f"it could not be read ({type(error).__name__})"
                    typer.echo(f"{choice.title}: {slot.waiting}: {error}", err=True)
            slots.clear()

    def _look(self, choice: Choice, slot: _Slot) -> None:
        """Takes over a newer run, if it is whole and its files have come to rest."""
        now = _seen(choice)
        if now == slot.seen:
            return
        try:
            if missing := Recorded.read().missing(files_of(choice)):
                raise UserError(f"a newer run is not finished: {missing[0]} is missing")
            newer = self._read(choice)
        except (UserError, OSError, ValueError) as error:
            slot.waiting = str(error)
            if _seen(choice) == now:
                slot.seen = now
            return
        slot.seen, slot.waiting = newer.seen, None
        if newer.map.version != slot.map.version:
            typer.echo(f"{choice.title}: {slot.map.version} → {newer.map.version}", err=True)
            slot.map = newer.map


def _seen(choice: Choice) -> tuple[Stamp, Stamp]:
    return stamp(choice), surroundings()
