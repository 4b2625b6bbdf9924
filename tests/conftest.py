"""What several tests share: tiny photographs, indices without files, a slim network."""

import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import evaluated
import numpy as np
import pytest
import reported
import torch
import toy
from PIL import Image
from torch import Tensor, nn

from vprlib.cli import main
from vprlib.descriptors.codes import Kept, fit_code
from vprlib.descriptors.whitening import fit
from vprlib.evaluate.protocols import Ranking, depth, rank
from vprlib.evaluate.recall import Protocol
from vprlib.images.batches import ImageSource
from vprlib.images.decode import ImageSettings
from vprlib.images.index import ImageIndex, build_index
from vprlib.model import torchvision_chain
from vprlib.pipeline.artifacts import write_hdf5
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.places.truth import Truth
from vprlib.search.exact import search_parts
from vprlib.search.neighbors import opened_neighbors, write_neighbors
from vprlib.search.request import SearchRequest

SPECS = Path(__file__).parents[2] / "shared" / "specs"


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Whatever a stage has set before."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def real_spec() -> Callable[[str], Path]:
    """The path of a real specification file; the test is skipped where there is none."""

    def find(name: str) -> Path:
        if not (SPECS / name).exists():
            pytest.skip(f"{SPECS / name} is not on this machine")
        return SPECS / name

    return find


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy set that has been evaluated; nobody may change it."""
    folder = tmp_path_factory.mktemp("made")
    evaluated.make(folder)
    return folder


@pytest.fixture
def made_here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the evaluated set that a test may spoil; it runs inside it."""
    shutil.copytree(made, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn set with mistakes of all kinds, evaluated in four runs; nobody may change it."""
    folder = tmp_path_factory.mktemp("drawn")
    reported.make(folder)
    return folder


@pytest.fixture
def drawn_here(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it that a test may spoil; the test runs inside."""
    shutil.copytree(drawn, tmp_path / "drawn")
    monkeypatch.chdir(tmp_path / "drawn")
    return tmp_path / "drawn"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with params.yaml and the toy set; the test runs inside it."""
    monkeypatch.chdir(tmp_path)
    toy.write_params(tmp_path, toy.params())
    toy.write_set(tmp_path / "data/raw", "toy_train")
    return tmp_path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a stage that must succeed; gives what it said."""

    def run_well(stage: str, *names: str) -> str:
        code, said = toy.run_stage(stage, monkeypatch, capsys, *names)
        assert code == 0, said
        return said

    return run_well


@pytest.fixture
def refused(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Runs a stage that must be refused with one sentence, and must write nothing."""

    def run_badly(stage: str, *names: str) -> str:
        before = set(here.rglob("*"))
        code, said = toy.run_stage(stage, monkeypatch, capsys, *names)
        said = re.sub(r"(?m)^(?:cache: |epoch 0).*\n", "", said)  # what was said on the way
        said = toy.refusal(code, said)
        kept = {".scratch", ".cache", "reports"}
        new = set(here.rglob("*")) - before
        assert not [path for path in new if path.is_file() and not kept & set(path.parts)]
        return said

    return run_badly


@pytest.fixture
def vpr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Runs the command line `vpr …`; gives its exit code and all it printed."""

    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["vpr", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main.run()
        printed = capsys.readouterr()
        return int(stop.value.code or 0), printed.out + printed.err

    return run


@pytest.fixture
def find(vpr: Callable[..., tuple[int, str]]) -> Callable[..., tuple[int, str]]:
    return partial(vpr, "find")


@pytest.fixture
def runtime() -> RuntimeSettings:
    return RuntimeSettings(device="cpu", workers=2, threads=1, memory_gib=0.1)


@pytest.fixture
def cpu() -> torch.device:
    return torch.device("cpu")


@pytest.fixture
def index_at() -> Callable[..., ImageIndex]:
    """An index of images that nobody opens, at the given positions."""

    def make(positions: object, extra: Mapping[str, np.ndarray] | None = None) -> ImageIndex:
        at = np.asarray(positions, dtype=np.float64).reshape(-1, 2)
        n = len(at)
        ones = np.ones(n, np.int32)
        return ImageIndex(
            "fancied",
            [f"{row:03}.jpg" for row in range(n)],
            at,
            byte_sizes=np.arange(n),
            widths=64 * ones,
            heights=48 * ones,
            is_rotated=np.zeros(n, bool),
            digests=np.arange(n) + 7,
            extra=extra or {},
        )

    return make


@pytest.fixture
def source_of(tmp_path: Path) -> Callable[..., ImageSource]:
    """Writes the pictures as JPEG files below a folder and indexes them."""

    def make(
        pictures: Sequence[np.ndarray],
        positions: np.ndarray | None = None,
        name: str = "set",
        settings: ImageSettings | None = None,
    ) -> ImageSource:
        folder = tmp_path / name
        folder.mkdir()
        names = [f"{row:03}.jpg" for row in range(len(pictures))]
        for file_name, picture in zip(names, pictures, strict=True):
            Image.fromarray(picture).save(folder / file_name, quality=95)
        at = np.zeros((len(names), 2)) if positions is None else positions
        index = build_index(name, names, at, folder, {}, 1)
        return ImageSource(index, folder, settings or ImageSettings())

    return make


@pytest.fixture
def ranked(tmp_path: Path) -> Callable[..., Ranking]:
    """Searches as deep as a protocol needs, by a file as the stages do; gives what is left."""

    def make(
        protocol: Protocol,
        queries: np.ndarray,
        database: np.ndarray,
        truth: Truth,
        columns: int,
        failed_queries: Sequence[int] = (),
        failed_database: Sequence[int] = (),
    ) -> Ranking:
        failed = [np.array(rows, np.int64) for rows in (failed_queries, failed_database)]
        count = min(depth(protocol, columns, truth), len(database))
        parts = search_parts(SearchRequest(queries, database, count, 2**27, 1, failed[1]))
        left_out = dict(zip(("failed_queries", "failed_database"), failed, strict=True))
        shape, path = (len(queries), count), tmp_path / "neighbors.h5"
        write_neighbors(path, parts, shape, left_out, {"is_exact": True})
        with opened_neighbors(path) as found:
            return rank(protocol, found, truth, columns)

    return make


@pytest.fixture
def fitted(tmp_path: Path, runtime: RuntimeSettings) -> Callable[..., Path]:
    """Writes a code as the stages do, fitted on so many descriptors, but for failed ones."""

    def make(
        sample: np.ndarray,
        dimensions: int = 4096,
        name: str = "w",
        failed: np.ndarray | None = None,
        **settings: object,
    ) -> Path:
        paths = [tmp_path / f"{stem}.h5" for stem in ("sample", "trained", name)]
        kept, flags = (sample, {}) if failed is None else (sample[~failed], {"failed": failed})
        origin = {"set": "toy_train", "variant": "trained"}
        write_hdf5(paths[0], {"descriptors": sample, **flags}, origin)
        about = {**origin, "descriptors": len(kept), "dimensions": dimensions}
        write_hdf5(paths[1], vars(fit(kept, dimensions, 2**20, 1)), about)
        fit_code(paths[2], name, Kept(**settings), *paths[:2], 1, runtime)
        return paths[2]

    return make


@pytest.fixture(scope="session")
def noise() -> Callable[..., np.ndarray]:
    """A blocky random picture, uint8 [H, W, 3], which JPEG keeps apart from others."""

    def make(seed: int, width: int = 64, height: int = 64) -> np.ndarray:
        generator = np.random.default_rng(seed)
        coarse = generator.integers(0, 256, (-(-height // 8), -(-width // 8), 3), dtype=np.uint8)
        return coarse.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]

    return make


class SlimAlexNet(nn.Module):
    """AlexNet's children in their places, eight channels wide."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 7, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.ReLU(),
            nn.Identity(),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.features(images).mean(dim=(2, 3))


@pytest.fixture
def network_named(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Puts a network of the test's own in the place of torchvision's of that name."""
    real = torchvision_chain.whole_network
    made: dict[str, Callable[[], nn.Module]] = {}

    def whole(name: str) -> nn.Module:
        with torch.device("meta"):
            return made[name]().eval() if name in made else real(name)

    def forget() -> None:
        torchvision_chain.feature_maps.cache_clear()
        torchvision_chain.aliases.cache_clear()

    monkeypatch.setattr(torchvision_chain, "whole_network", whole)
    forget()
    yield made.__setitem__
    forget()


@pytest.fixture
def slim(network_named: Callable[..., None]) -> str:
    """The name of a backbone that is built in no time."""
    network_named("alexnet", SlimAlexNet)
    return "alexnet"
