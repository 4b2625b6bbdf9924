"""A toy data set on disk and a way to run a stage on it, for tests of whole stages."""

import copy
import functools
import importlib
import logging
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import scipy.io
import yaml
from PIL import Image

from vprlib.formats.mat import specification_bytes
from vprlib.formats.specification import Specification
from vprlib.pipeline import command

if TYPE_CHECKING:
    from dvc.repo import Repo

ROOT = Path(__file__).parents[1]
# PyYAML's in C, where it has them, are five times faster
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
SPACING_M = 30.0  # between places, so that neighbours are negatives


def new_repository() -> "Repo":
    """Git and DVC in this folder; DVC would write to the stream of the test that loaded it."""
    from dvc.repo import Repo

    git("init", "-q")
    logging.getLogger("dvc").setLevel(logging.WARNING)
    return Repo.init(".")


def git(*arguments: str) -> None:
    who = ("-c", "user.name=me", "-c", "user.email=me@example.org")
    subprocess.run(["git", *who, *arguments], check=True, capture_output=True)


def specification(places: int = 6, name: str = "toy") -> Specification:
    """Two database images and one query a place."""
    centres = 500_000.0 + SPACING_M * np.arange(places)
    database = np.repeat(centres, 2) + np.tile([0.0, 4.0], places)
    northing = 4_400_000.5
    return Specification(
        which_set=name,
        database_names=[f"{i // 2:03d}/{name}_{i:03d}.jpg" for i in range(2 * places)],
        database_positions=np.stack([database, np.full(2 * places, northing)], axis=1),
        query_names=[f"{i:03d}/{name}_q{i:03d}.jpg" for i in range(places)],
        query_positions=np.stack([centres + 2.0, np.full(places, northing)], axis=1),
        positive_radius_m=25.0,
        training_radius_m=10.0,
    )


def write_images(folder: Path, spec: Specification, size: tuple[int, int] = (80, 64)) -> None:
    """A picture a place: blocks of colours that its images share, and noise that they do not."""
    noise = np.random.default_rng(1)
    sides = [(spec.database_names, ""), (spec.query_names, "queries_real")]
    for names, prefix in sides:
        for name in names:
            write_picture(folder / prefix / name, int(name.split("/")[0]), noise, size)


def write_picture(
    path: Path, place: int, noise: np.random.Generator, size: tuple[int, int]
) -> None:
    blocks = np.random.default_rng(place).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    image = np.asarray(Image.fromarray(blocks).resize(size, Image.Resampling.NEAREST))
    image = image + noise.normal(0, 25, image.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(path)


def write_cells(path: Path, cells: Sequence[object]) -> None:
    """A cell array without names, as Berlin's and Nordland's files hold it."""
    row = np.empty((1, len(cells)), dtype=object)
    row[0, :] = cells
    scipy.io.savemat(path, {"dbStruct": row})


def write_set(raw: Path, name: str, spec: Specification | None = None) -> Specification:
    """Specification and images as a real set lies below data/raw."""
    spec = spec or specification(name=name)
    folder = raw / "toy"
    (folder / "datasets").mkdir(parents=True, exist_ok=True)
    (folder / "datasets" / f"{name}.mat").write_bytes(specification_bytes(spec))
    write_images(folder, spec)
    return spec


@functools.cache
def whole_params() -> dict:
    return yaml.load((ROOT / "params.yaml").read_text(), LOADER)


def dataset(name: str, **changes: object) -> dict:
    """An entry of `datasets`, as the city's are."""
    own = {"folder": "toy", "list": f"datasets/{name}.mat"}
    return copy.deepcopy(whole_params()["datasets"]["city_test"]) | own | changes


def params() -> dict:
    """The project's params.yaml with small sets and little work."""
    tree = copy.deepcopy(whole_params())
    names = {"init_on": ["toy_train"], "train_on": ["toy_train"], "validate_on": "toy_val"}
    tree.update(names, eval_on=["toy_val"], calibrate_on="toy_val")
    tree["datasets"] = {name: dataset(name) for name in ("toy_train", "toy_val")}
    tree["sample"].update(images=4, positions=4)
    tree["kmeans"].update(clusters=3, iterations=5)
    # a network that is quick, and that starts from nothing
    tree["model"]["backbone"] = {"name": "alexnet", "cut": "conv5", "weights": "random", "seed": 1}
    tree["train"].update(epochs=1, precision="float32", first_layer="conv1", distance="l2")
    tree["train"].update(negative_pool=30, keep="best")
    tree["extraction"].update(precision="float32")
    tree["runtime"].update(device="cpu", workers=1)
    return tree


def code(whiten: int | None, index: dict | None = None, search: dict | None = None, **keep) -> dict:
    """An entry of `code_defs`: floats, searched exactly, unless others say otherwise."""
    return {"keep": {"whiten": whiten, **keep}, "index": index, "search": search}


def write_params(folder: Path, tree: dict) -> None:
    (folder / "params.yaml").write_text(yaml.dump(tree, Dumper=DUMPER))


def run_stage(stage: str, monkeypatch, capsys, *names: str) -> tuple[int, str]:
    """Exit code and what was said, as `python -m stages.<stage> <names>` would give them."""
    return run_command(f"stages.{stage}", [*names], monkeypatch, capsys)


def run_command(module: str, arguments: list[str], monkeypatch, capsys) -> tuple[int, str]:
    """As `python -m <module>` with those arguments."""
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    capsys.readouterr()
    try:
        command.run(importlib.import_module(module).main)
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr()
    return int(code or 0), said.out + said.err


def refusal(code: int, said: str) -> str:
    """What was said by a command that must end in one sentence."""
    assert code == 1 and said.startswith("error: ") and said.count("\n") == 1, said
    assert "Traceback" not in said
    return said
