"""A map that grows: only new images are described, and the file has the bytes of a new one."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vprlib.extract.extraction import ExtractionSettings, Outcome, Work, extract
from vprlib.extract.kept import FILE, STATE, KeptDescriptors, contents_of
from vprlib.images.batches import ImageSource
from vprlib.images.index import build_index
from vprlib.model.model import Architecture, PlaceModel
from vprlib.model.settings import PoolSettings
from vprlib.pipeline import artifacts
from vprlib.pipeline.cache import ABOUT, Cache, entries
from vprlib.pipeline.resume import Scratch


class Map:
    """Images in two sizes, of which some are described; says how many the network saw."""

    def __init__(self, source: ImageSource, network: PlaceModel, folder: Path, where) -> None:
        self.source, self.network, self.folder, self.where = source, network, folder, where
        self.limit, self.key = 2**30, "abc"

    def describe(
        self, rows: list[int], name: str = "grown.h5", is_new: bool = False, **settings
    ) -> Outcome:
        source = self.source.take(np.array(rows, int))
        chosen = ExtractionSettings(**{"precision": "float32"} | settings)
        every = np.arange(len(rows))
        work = Work(self.network, source, every, chosen, self.folder / "unreadable.txt")
        cache = Cache(self.folder / ("other" if is_new else "cache"), self.limit, print)
        before = KeptDescriptors(cache, self.key)
        scratch = Scratch(self.folder / "scratch")
        self.network.seen = 0
        path = self.folder / name
        path.unlink(missing_ok=True)  # as DVC does
        outcome = extract(path, work, scratch, *self.where, known_before=before)
        shutil.rmtree(self.folder / "other", ignore_errors=True)
        return outcome

    def is_as_from_scratch(self, rows: list[int], **settings) -> bool:
        self.describe(rows, "new.h5", is_new=True, **settings)
        return (self.folder / "new.h5").read_bytes() == (self.folder / "grown.h5").read_bytes()


class Counting(PlaceModel):
    seen = 0

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        self.seen += len(pixels)
        return super().forward(pixels)


@pytest.fixture(params=[None, 5], ids=["plain", "whitened"])
def place_map(request, slim: str, source_of, noise, tmp_path: Path, cpu, runtime) -> Map:
    sizes = [(64, 48), (48, 64)]
    source = source_of([noise(row, *sizes[row % 3 == 1]) for row in range(40)])
    torch.manual_seed(1)
    network = Counting(Architecture(slim, "conv5", PoolSettings(version="v2"), 4, request.param))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return Map(source, network, tmp_path, (cpu, runtime))


def test_only_new_images_are_described(place_map: Map) -> None:
    place_map.describe(list(range(30)))
    rows = [35, *range(20), 36, *range(25, 30), 37]  # added, removed, and in other places
    outcome = place_map.describe(rows)
    assert (outcome.known, place_map.network.seen) == (25, 3 + 1)  # one is alone in its size
    assert "25 of them known already" in outcome.sentence()
    assert place_map.is_as_from_scratch(rows)
    assert place_map.network.seen >= len(rows)


def test_removing_opens_no_image(place_map: Map, monkeypatch: pytest.MonkeyPatch) -> None:
    place_map.describe(list(range(30)))
    monkeypatch.setattr("vprlib.images.batches.decode", None)
    outcome = place_map.describe(list(range(3, 30)))
    assert (outcome.known, place_map.network.seen) == (27, 0)
    monkeypatch.undo()
    assert place_map.is_as_from_scratch(list(range(3, 30)))


def test_another_network_or_precision_finds_nothing(place_map: Map) -> None:
    place_map.describe(list(range(6)))
    place_map.key = "abd"
    assert place_map.describe(list(range(6))).known == 0
    assert place_map.describe(list(range(6)), stored="float16").known == 0
    assert place_map.is_as_from_scratch(list(range(6)), stored="float16")


def test_a_replaced_image_is_described_again(place_map: Map, noise: Callable) -> None:
    place_map.describe(list(range(6)))
    path = place_map.source.folder / place_map.source.index.names[2]
    shutil.copyfile(place_map.source.folder / place_map.source.index.names[39], path)
    index = place_map.source.index
    again = build_index("set", index.names, index.positions, place_map.source.folder, {}, 1)
    place_map.source = replace(place_map.source, index=again)
    assert place_map.describe(list(range(6))).known == 5
    assert place_map.is_as_from_scratch(list(range(6)))


def test_a_file_that_was_changed_in_its_place_is_not_trusted(place_map: Map) -> None:
    place_map.describe(list(range(6)))
    with (place_map.folder / "grown.h5").open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"\1\2\3\4")
    assert place_map.describe(list(range(6))).known == 0
    assert place_map.is_as_from_scratch(list(range(6)))
    assert place_map.describe(list(range(6))).known == 6


def test_what_has_no_descriptor_is_not_kept(place_map: Map) -> None:
    path = place_map.source.folder / place_map.source.index.names[3]
    content = path.read_bytes()
    path.write_bytes(b"broken")
    assert place_map.describe(list(range(6)), unreadable="leave_out").failed == 1
    path.write_bytes(content)
    assert place_map.describe(list(range(6))).known == 5
    assert place_map.is_as_from_scratch(list(range(6)))


def test_files_that_hold_nothing_more_are_removed(place_map: Map) -> None:
    def kept() -> int:
        return len(entries(place_map.folder / "cache"))

    place_map.describe(list(range(10)))
    place_map.describe(list(range(12)))
    assert kept() == 1
    place_map.describe(list(range(8)))
    assert kept() == 2  # what was removed may come back
    assert place_map.describe(list(range(12))).known == 12
    place_map.describe([])
    assert kept() == 1
    place_map.limit = 1
    place_map.describe(list(range(20)))
    assert place_map.describe(list(range(20))).known == 12


def test_without_links_the_file_is_copied(place_map: Map, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*paths: Path) -> None:
        raise OSError

    monkeypatch.setattr(artifacts.os, "link", refuse)
    place_map.describe(list(range(6)))
    (entry,) = entries(place_map.folder / "cache")
    assert not (entry / FILE).samefile(place_map.folder / "grown.h5")
    assert place_map.describe(list(range(7))).known == 6
    assert place_map.is_as_from_scratch(list(range(7)))


@pytest.mark.parametrize("stop", ["copying", "describing", "publishing"])
def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(
    place_map: Map, monkeypatch: pytest.MonkeyPatch, stop: str
) -> None:
    place_map.describe(list(range(20)))
    rows = list(range(4, 30))

    def end(*given: object, **also: object) -> None:
        raise KeyboardInterrupt

    place = {
        "copying": "vprlib.extract.kept.forget",
        "describing": "vprlib.extract.extraction.describe_batches",
        "publishing": "vprlib.pipeline.resume.Scratch.remove",
    }[stop]
    if stop == "publishing":  # the second call: the first begins the work
        calls = iter([Scratch.remove, end])
        monkeypatch.setattr(place, lambda scratch: next(calls)(scratch))
    else:
        monkeypatch.setattr(place, end)
    with pytest.raises(KeyboardInterrupt):
        place_map.describe(rows)
    monkeypatch.undo()
    monkeypatch.setattr("vprlib.images.batches.IMAGES_A_BATCH", 2)
    place_map.describe(rows)
    assert place_map.is_as_from_scratch(rows)


def test_boxes_tell_contents_apart(source_of, noise) -> None:
    source = source_of([noise(1), noise(1), noise(2)])
    every = np.arange(3)
    plain = contents_of(source, every)
    assert plain[0] == plain[1] != plain[2] and plain.tolist() == source.index.digests.tolist()
    boxes = np.array([[0, 0, 9, 9], [0, 0, 9, 8], [0, 0, 9, 9]], float)
    cut = contents_of(replace(source, index=replace(source.index, extra={"box": boxes})), every)
    assert len({*cut.tolist(), *plain.tolist()}) == 5 and (cut >= 0).all()


@pytest.mark.parametrize("name", [STATE, ABOUT])
def test_a_damaged_entry_counts_as_none(place_map: Map, name: str) -> None:
    place_map.describe(list(range(6)))
    (entry,) = entries(place_map.folder / "cache")
    (entry / name).write_text("{")
    outcome = place_map.describe(list(range(7)))
    assert outcome.known == (0 if name == STATE else 6)
    assert place_map.is_as_from_scratch(list(range(7)))
    assert place_map.describe(list(range(7))).known == 7


def test_without_a_cache_what_it_holds_is_not_read(place_map: Map) -> None:
    place_map.describe(list(range(6)))
    place_map.limit = 0
    assert place_map.describe(list(range(6))).known == 0
    assert entries(place_map.folder / "cache")  # and stays for later
