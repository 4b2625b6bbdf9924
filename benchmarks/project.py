"""A small project to run one stage in: pictures, their index, a network and parameters."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image
from torch import nn

from benchmarks.pictures import QUALITY, picture
from vprlib.images.batches import ImageSource
from vprlib.images.decode import ImageSettings
from vprlib.images.index import build_index, write_index
from vprlib.model.model import Architecture, PlaceModel, write_model
from vprlib.model.settings import PoolSettings
from vprlib.pipeline import paths
from vprlib.pipeline.artifacts import write_text

ROOT = Path(__file__).parents[1]
NAME = "drawn"
DIFFERENT = 200  # pictures; the others are links to them


@dataclass(frozen=True)
class Project:
    """A folder in which `python -m stages.extract_db` describes the pictures."""

    folder: Path

    @property
    def scratch(self) -> Path:
        return self.folder / paths.SCRATCH

    def configure(self, **runtime: object) -> None:
        tree = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
        images = {"resize": None, "exif_rotate": True}
        tree["datasets"] = {NAME: {"folder": NAME, "images": images}}
        tree["runtime"].update(device="cpu", workers=1, threads=1, memory_gib=0.5)
        tree["runtime"].update(cache_gib=0.0, **runtime)  # each run is to describe everything
        write_text(self.folder / "params.yaml", yaml.safe_dump(tree))

    def output(self, variant: str) -> Path:
        return self.folder / paths.descriptors(NAME, variant, "full", "db")

    def start(self, variant: str) -> subprocess.Popen[str]:
        """Describes the pictures; each variant is the same network, with an output of its own."""
        shutil.copyfile(self.folder / paths.model(NAME), self.folder / paths.model(variant))
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.Popen(
            [sys.executable, "-m", "stages.extract_db", NAME, variant],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def blocks(self) -> int:
        """How many blocks an unfinished run has marked as whole."""
        marks = [np.fromfile(path, np.uint32) for path in self.scratch.glob("*/marks")]
        return sum(int((found != 0).sum()) for found in marks)


def make_project(
    folder: Path, images: int, size: tuple[int, int], backbone: str, cut: str, clusters: int
) -> Project:
    source = drawn_source(folder / "data/raw" / NAME, images, *size)
    write_index(folder / paths.index(NAME, "db"), source.index)
    write_model(folder / paths.model(NAME), drawn_model(backbone, cut, clusters), {})
    project = Project(folder)
    project.configure()
    return project


def drawn_source(folder: Path, images: int, width: int, height: int) -> ImageSource:
    folder.mkdir(parents=True)
    names = [f"{image:06}.jpg" for image in range(images)]
    for image, name in enumerate(names):
        if image < DIFFERENT:
            draws = (np.random.default_rng([image, side]) for side in range(2))
            pixels = picture(*draws, width, height)
            Image.fromarray(pixels).save(folder / name, quality=QUALITY)
        else:
            (folder / name).hardlink_to(folder / names[image % DIFFERENT])
    index = build_index(NAME, names, np.zeros((images, 2)), folder, {}, workers=2)
    return ImageSource(index, folder, ImageSettings())


@torch.no_grad()
def drawn_model(backbone: str, cut: str, clusters: int) -> PlaceModel:
    """NetVLAD on a network with random weights that keep values in their range."""
    torch.manual_seed(1)
    model = PlaceModel(Architecture(backbone, cut, PoolSettings(), clusters))
    for module in model.backbone.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
            nn.init.zeros_(module.bias)
    for parameter in model.pool.parameters():
        nn.init.normal_(parameter, std=0.1)
    return model


def ended(process: "subprocess.Popen[str]", codes: Sequence[int] = (0,)) -> str:
    """What it said, once it has ended as expected."""
    said = process.communicate()[0]
    assert process.returncode in codes, said
    return said
