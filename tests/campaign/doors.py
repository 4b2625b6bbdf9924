"""The public ways in, each with the files that it reads: a stage or a command per case."""

import io
import json
import random
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import evaluated
import photographs
import rivals
import torch
import torchvision
import yaml
from campaign import mutate
from torch import nn

from vprlib.cli.model.convert import Form
from vprlib.cli.model.convert import main as convert
from vprlib.cli.model.export import main as export
from vprlib.pipeline import paths

SET, VARIANT = evaluated.SET, evaluated.VARIANT
WHICH = (SET, VARIANT)
WEIGHTS = paths.WEIGHTS
PHOTO = str(evaluated.photo(2))
Case = tuple[Path, list[str]]  # the file that was damaged, and the command


@dataclass(frozen=True)
class Door:
    """Damages one of the files that match, then calls one of the commands."""

    damage: Callable[[Path, random.Random], None]
    files: str  # a pattern
    commands: tuple[str, ...]

    def open(self, here: Path, rng: random.Random) -> Case:
        path = rng.choice(sorted(here.glob(self.files)))
        self.damage(path, rng)
        return path, rng.choice(self.commands).split()


FIND = (f"vpr find {PHOTO} --json", "vpr find some --out found.csv")
WHOLE = "w8_int8"
DOORS = {
    "images of a set": Door(mutate.image_file, "data/raw/toy/*/*.jpg", (f"parse_mat {SET}",)),
    "images described": Door(
        mutate.image_file,
        "data/raw/toy/*/*.jpg",
        (f"extract_db {SET} {VARIANT}", f"keypoints {SET}"),
    ),
    "photographs": Door(mutate.image_file, "some/*.jpg", ("vpr find some", "vpr find some/1.jpg")),
    "folders of photographs": Door(
        mutate.beside_photographs, "data/raw/photos/street*/*", ("list_photos photos",)
    ),
    "lists of photographs": Door(mutate.csv_file, "data/raw/photos/*.csv", ("parse_mat photos",)),
    "rough positions": Door(
        mutate.csv_file, "rough.csv", ("vpr find some --near rough.csv --within 30 --json",)
    ),
    "inlier thresholds": Door(
        mutate.json_file,
        f"artifacts/calibration/inliers/{SET}/*.json",
        (f"vpr find {PHOTO} --verify",),
    ),
    "specifications": Door(mutate.mat_file, "data/raw/toy/datasets/*.mat", (f"parse_mat {SET}",)),
    "listings": Door(mutate.csv_file, "data/raw/toy/list.csv", ("parse_mat listed",)),
    "ground truth": Door(
        lambda path, rng: path.write_text(
            rng.choice(
                [
                    f"{rng.choice(mutate.NAMES)} 1 2 30 40",
                    "toy_val_000 nan 0 9 9",
                    "toy_val_000 1e308 0 2e308 9",
                    mutate.raw(path.read_bytes(), rng).decode("latin1"),
                ]
            )
        ),
        "data/raw/oxford/truth/*.txt",
        ("parse_mat oxford",),
    ),
    "indices": Door(
        mutate.hdf5_file,
        f"data/index/{SET}/*.h5",
        (
            f"audit {SET} toy_train {SET}",
            f"recall {SET} {VARIANT} full",
            *FIND,
            f"extract_queries {SET} {VARIANT}",
            f"search {SET} {VARIANT} full",
            f"keypoints {SET}",
            f"rerank {SET} {VARIANT} full",
        ),
    ),
    "samples and words": Door(
        mutate.hdf5_file, "artifacts/features/*.h5", ("kmeans_centroids toy", "init_model toy")
    ),
    "descriptors": Door(
        mutate.hdf5_file,
        f"artifacts/descriptors/{SET}/{VARIANT}/*/*.h5",
        tuple(f"search {SET} {VARIANT} {code}" for code in evaluated.CODES) + FIND,
    ),
    "fits": Door(
        mutate.hdf5_file,
        f"artifacts/fit/{VARIANT}/*.h5",
        (f"fit_whitening {VARIANT}", f"fit_code {VARIANT} {WHOLE}"),
    ),
    "coders": Door(
        mutate.hdf5_file,
        f"artifacts/coders/{VARIANT}/*.h5",
        (f"encode {SET} {VARIANT} {WHOLE}", f"vpr find {PHOTO} --code {WHOLE}"),
    ),
    "search indexes": Door(
        lambda path, rng: path.write_bytes(mutate.raw(path.read_bytes(), rng)),
        f"artifacts/descriptors/{SET}/{VARIANT}/ivf/index/*",
        (f"search {SET} {VARIANT} ivf", f"vpr find {PHOTO} --code ivf"),
    ),
    "neighbors": Door(
        mutate.hdf5_file, f"artifacts/neighbors/{SET}/*.h5", (f"recall {SET} {VARIANT} full",)
    ),
    "predictions": Door(
        mutate.hdf5_file,
        f"artifacts/predictions/{SET}/{VARIANT}-full.h5",
        (
            f"calibrate {SET} {VARIANT} full",
            f"diagnose {SET} {VARIANT} full",
            f"rerank {SET} {VARIANT} full",
            f"second_look {SET} {VARIANT} full",
            "vpr predictions --out p.csv",
            "vpr compare trained trained/w4",
        ),
    ),
    "keypoints": Door(
        mutate.hdf5_file, "artifacts/keypoints/*.h5", (f"rerank {SET} {VARIANT} full",)
    ),
    "second looks": Door(
        mutate.hdf5_file, f"artifacts/reranked/{SET}/*.h5", (f"second_look {SET} {VARIANT} full",)
    ),
    "metrics": Door(
        mutate.json_file,
        f"metrics/recall/{SET}/*.json",
        ("vpr table", "vpr table --json", "vpr compare trained trained/w4"),
    ),
    "calibrations": Door(
        mutate.json_file, "artifacts/calibration/*.json", (f"vpr find {PHOTO}", *FIND)
    ),
    "models": Door(
        mutate.safetensors_file,
        f"artifacts/models/{VARIANT}.safetensors",
        (
            f"extract_queries {SET} {VARIANT}",
            f"vpr find {PHOTO}",
            f"vpr model convert artifacts/models/{VARIANT}.safetensors --to port --out a.pth",
        ),
    ),
    "checkpoints": Door(mutate.torch_file, "data/raw/weights/port.pth", ("load_model port",)),
    "published networks": Door(
        mutate.torch_file, "data/raw/weights/published.pth", ("load_model published",)
    ),
    "networks in ONNX": Door(
        lambda path, rng: path.write_bytes(mutate.raw(path.read_bytes(), rng)),
        "data/raw/weights/any.onnx",
        ("load_model any",),
    ),
    "notes of times": Door(
        mutate.json_file, "artifacts/.times/*.json", ("vpr table", "vpr table --json")
    ),
    "words of MATLAB": Door(
        mutate.mat_file,
        "data/raw/weights/words.mat",
        ("vpr model convert data/raw/weights/words.mat --to centroids-mat --out w.mat",),
    ),
    "words of the port": Door(
        mutate.hdf5_file,
        "data/raw/weights/words.h5",
        ("vpr model convert data/raw/weights/words.h5 --to centroids-mat --out w.mat",),
    ),
    "exports": Door(
        lambda path, rng: path.write_bytes(mutate.raw(path.read_bytes(), rng)),
        "export.onnx",
        (f"vpr find {PHOTO} --onnx export.onnx",),
    ),
    "parameters": Door(
        mutate.yaml_file,
        "params.yaml",
        (
            "check_switches",
            f"parse_mat {SET}",
            f"recall {SET} {VARIANT} full",
            "vpr table",
            f"search {SET} {VARIANT} full",
            f"extract_queries {SET} {VARIANT}",
            f"vpr find {PHOTO}",
            "kmeans_centroids toy",
            "sample_features toy_train",
            "train toy_train toy_val trained",
            f"keypoints {SET}",
            f"rerank {SET} {VARIANT} full",
            f"second_look {SET} {VARIANT} full",
        ),
    ),
}


def odd_options(rng: random.Random) -> list[str]:
    """A command line with one odd word."""
    commands = [
        *(["find", PHOTO, "--set", SET], ["find", PHOTO, "-k", "3"], ["table", "--json"]),
        *(["find", PHOTO, "--picture", "p.png"], ["find", PHOTO, "--out", "f.csv"]),
        *(["find", PHOTO, "--near", "1,2", "--within", "9"], ["find", PHOTO, "--box", "1,2,3,4"]),
        *(["find", "some", "--sequence", "3"], ["use", "photos", "some", "--queries", "some"]),
        *(["predictions", "--out", "p.csv"], ["compare", "trained", "trained/w4"]),
        *(["use", "city"], ["model", "convert", "export.onnx", "--to", "port", "--out", "x"]),
        *(
            ["cache", "list"],
            ["doctor", "--json"],
            ["map", "list", "some"],
            ["map", "drop", "some", "x"],
        ),
    ]
    command = list(rng.choice(commands))
    odd = [*mutate.NAMES, "", "0", "-1", "1e9", "9" * 99, "/", "here/no/x", "--nosuch"]
    command[rng.randrange(1, len(command))] = rng.choice(odd)
    return ["vpr", *command]


def published() -> dict[str, torch.Tensor]:
    """A BoQ on a ResNet-18, as its authors save it."""
    body = nn.Sequential(*list(torchvision.models.resnet18().children())[:7])
    head = rivals.BoQ(256, 64, 5, 2, 3)
    parts = (("backbone.net.", body), ("aggregator.", head))
    return {f"{name}{key}": t for name, part in parts for key, t in part.state_dict().items()}


def any_onnx() -> bytes:
    """The mean colour of an image."""
    file = io.BytesIO()
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with warnings.catch_warnings(action="ignore"):  # the older exporter needs no further package
        torch.onnx.export(network, (torch.zeros(1, 3, 120, 160),), file, dynamo=False)
    return file.getvalue()


def prepare(here: Path) -> None:
    """What the evaluated toy lacks: other lists of it, foreign networks, photographs."""
    tree = yaml.safe_load((here / "params.yaml").read_text())
    base = tree["datasets"][SET]
    whole = {**base, "layout": {}}
    tree["datasets"]["listed"] = {**whole, "list": "list.csv"}
    tree["datasets"]["oxford"] = {**whole, "folder": "oxford", "list": "truth"}
    tree["datasets"]["photos"] = {**whole, "folder": "photos", "list": "list.csv"}
    tree["datasets"]["photos"]["protocol"] = "sessions"
    tree["datasets"][SET]["utm_zone"] = "33N"
    tree["photos"] = {"photos": {}}
    tree["networks"] = {
        "port": {"file": "port.pth"},
        "published": {"file": "published.pth"},
        "any": {"file": "any.onnx", "input": {"mean": None, "std": None}},
    }
    tree["variants"] = [VARIANT, *tree["networks"]]
    tree["rerank"].update(short_side=[96, 96], keypoints=100, top=3)
    tree["rerank_on"] = [SET]
    (here / "params.yaml").write_text(yaml.safe_dump(tree))
    images = sorted((here / "data/raw/toy").glob("[0-9]*/*.jpg"))
    names = [str(image.relative_to(here / "data/raw/toy")) for image in images]
    lines = [f"{name},{500_000 + 9 * n},4.4e6,database" for n, name in enumerate(names)]
    lines += [line.replace("database", "query") for line in lines[:4]]
    (here / "data/raw/toy/list.csv").write_text("\n".join(["path,easting,northing,role", *lines]))
    (here / "data/raw/oxford/truth").mkdir(parents=True)
    (here / "some").mkdir()
    for number, image in enumerate(images[:6]):
        shutil.copy(image, here / "data/raw/oxford")
        shutil.copy(image, here / f"some/{number}.jpg")
    for name, day in (("street", 0.0), ("street2", 86400.0)):
        photographs.walk(here / "data/raw/photos" / name, 3, photographs.NOON + day)
    photographs.write(
        here / "data/raw/photos/street/lost.jpg",
        9,
        photographs.exif(time=photographs.NOON, offset="+00:00"),
    )
    photographs.gpx(
        here / "data/raw/photos/street/track.gpx",
        [(photographs.NOON + 9 * n, *photographs.HERE) for n in range(3)],
    )
    evaluated.stage("list_photos", "photos")
    (here / "rough.csv").write_text("path,lat,lon\n0.jpg,39.75,15.0\n1.jpg,39.75,15.001\n")
    stems = [image.stem for image in images]
    lists = {"query": f"{stems[0]} 1 2 30 40", "good": stems[1], "ok": stems[2], "junk": ""}
    for kind, text in lists.items():
        (here / f"data/raw/oxford/truth/a_1_{kind}.txt").write_text(text)
    evaluated.stage("calibrate", SET, VARIANT, "full")
    evaluated.stage("keypoints", SET)
    for stage in ("rerank", "second_look"):
        evaluated.stage(stage, SET, VARIANT, "full")
    (here / WEIGHTS).mkdir()
    model = Path(f"artifacts/models/{VARIANT}.safetensors")
    convert(model, Form.PORT, WEIGHTS / "port.pth")
    torch.save({"state_dict": published()}, WEIGHTS / "published.pth")
    (WEIGHTS / "any.onnx").write_bytes(any_onnx())
    convert(model, Form.CENTROIDS_MAT, WEIGHTS / "words.mat")
    made = evaluated.VECTORS["db"].stat().st_mtime
    note = {"command": f"python -m stages.extract_db {SET} {VARIANT}", "processor": "one"}
    note |= {"started": made, "seconds": 1.0, "told": {"described": 12, "describing": 0.5}}
    paths.TIMES.mkdir()
    (paths.TIMES / "extract_db.json").write_text(json.dumps(note))
    shutil.copy("artifacts/features/centroids.h5", WEIGHTS / "words.h5")
    export(out=Path("export.onnx"))
