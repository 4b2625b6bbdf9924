"""A whole network as one file: the same descriptors without PyTorch, and quickly."""

import contextlib
import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import toy
import yaml
from evaluated import QUERIES, photo, predictions

from vprlib.cli import tradeoffs
from vprlib.cli.choice import Choice
from vprlib.cli.model import export
from vprlib.descriptors.codes import read_code
from vprlib.interop import onnx_export
from vprlib.interop.onnx_run import Exported
from vprlib.model.model import read_model
from vprlib.pipeline import paths

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CODE = "w8_int8"
PATH = Path(f"artifacts/onnx/trained-{CODE}.onnx")


@pytest.fixture(scope="module")
def written(made, tmp_path_factory):
    """The toy's network and a code of it, exported by the command."""
    folder = tmp_path_factory.mktemp("written") / "here"
    shutil.copytree(made, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        export.main(None, "trained", CODE, 6, None)
    return folder


@pytest.fixture
def here(written, tmp_path, monkeypatch):
    """A copy that a test may spoil; it runs inside it."""
    shutil.copytree(written, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def pictures(count, height=64, width=80, seed=1):
    draw = np.random.default_rng(seed)
    return draw.integers(0, 256, (count, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("count", "height", "width"),
    [(1, 64, 80), (2, 64, 80), (5, 96, 72), (3, 131, 97), (16, 64, 64)],
)
def test_batches_and_sizes_agree_with_the_network_and_its_code(here, count, height, width):
    session = Exported(PATH, 1)
    assert session.size is None  # any
    model = read_model(Path("artifacts/models/trained.safetensors"))
    code = read_code(Path(f"artifacts/coders/trained/{CODE}.h5"))
    pixels = pictures(count, height, width)
    with torch.no_grad():
        expected = code.apply(model(torch.from_numpy(pixels)).numpy())
    found = session(pixels)
    assert found.shape == (count, 8) and found.dtype == np.float32
    assert np.abs(found - expected).max() < 1e-4


def test_the_file_says_what_it_is_and_names_no_place_of_this_machine(here):
    told = Exported(PATH, 1).identity
    assert (told.variant, told.code, told.dim) == ("trained", CODE, 8)
    assert told.architecture == "alexnet to conv5, netvlad 3"
    assert told.images == {"resize": None, "exif_rotate": True}
    content = PATH.read_bytes()
    assert str(ROOT).encode() not in content and b"site-packages" not in content


def test_the_same_network_is_the_same_file(here):
    before = PATH.read_bytes()
    export.main(None, "trained", CODE, 6, None)
    assert PATH.read_bytes() == before


def test_a_photograph_finds_by_it_what_it_finds_by_the_network(here, find):
    by_export = find(photo(2), "-k", 5, "--code", CODE)
    assert "without the export" not in by_export[1]
    PATH.rename("elsewhere.onnx")
    by_network = find(photo(2), "-k", 5, "--code", CODE)
    assert by_export == by_network and by_export[0] == 0
    given = ("--code", CODE, "--onnx", "elsewhere.onnx", "--out", "found.csv")
    assert find(QUERIES, "-k", 4, *given)[0] == 0
    with h5py.File(predictions(CODE)) as file:
        expected = file["distances"][:, :4].ravel()
    lines = Path("found.csv").read_text().splitlines()
    found = [float(line["distance"]) for line in csv.DictReader(lines)]
    assert found == pytest.approx(expected.tolist(), abs=1e-5)


WITHOUT_TORCH = """
import sys
from vprlib.cli.main import run
sys.argv = ["vpr", "find", {photo!r}, "--code", {code!r}]
try:
    run()
except SystemExit:
    pass
print(sorted({{"torch", "onnx", "scipy", "sklearn", "matplotlib"}} & set(sys.modules)))
"""


def test_a_photograph_needs_no_torch_and_little_time(here):
    program = WITHOUT_TORCH.format(photo=str(photo(2)), code=CODE)
    seconds = []
    for _ in range(3):
        start = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        seconds.append(time.monotonic() - start)
        assert done.returncode == 0 and done.stdout.endswith("[]\n"), done
    assert min(seconds) < 2


def test_an_export_of_something_else_is_refused_with_a_sentence(here, find):
    shutil.copy(PATH, "x.onnx")
    said = toy.refusal(*find(photo(0), "--code", "w4", "--onnx", "x.onnx"))
    assert "x.onnx gives code w8_int8, not w4: export it again by" in said
    model = Path("artifacts/models/trained.safetensors")
    content = model.read_bytes()
    model.write_bytes(content + b" ")
    said = toy.refusal(*find(photo(0), "--code", CODE, "--onnx", "x.onnx"))
    assert "was made of another trained network than the present one: export it again by" in said
    assert "is missing: write it with" in toy.refusal(*find(photo(0), "--onnx", "none.onnx"))
    model.write_bytes(content)
    tree = toy.params() | {"code_defs": {CODE: toy.code(8, precision="int8")}}
    tree["datasets"]["toy_val"]["images"]["resize"] = 96
    toy.write_params(here, tree)
    said = toy.refusal(*find(photo(0), "--code", CODE, "--onnx", "x.onnx"))
    assert "takes images as {'exif_rotate': True, 'resize': None}, but the set's are" in said
    code, said = find(photo(0), "--code", CODE)  # nobody asked for the one that lies there
    assert code == 0 and said.count("without the export: ") == 1


def test_an_export_that_is_off_is_not_written(here, monkeypatch, vpr):
    monkeypatch.setattr(onnx_export, "difference", lambda *given: 2e-4)
    before = PATH.read_bytes()
    code, said = vpr("model", "export", "--variant", "trained", "--code", CODE)
    assert code == 1 and "the export differs from the pipeline by 2.0e-04 on 12 images" in said
    assert PATH.read_bytes() == before and not list(PATH.parent.glob(".*"))


def test_one_hundred_images_of_the_city_agree(monkeypatch, vpr, tmp_path):
    """Where `dvc repro` has built it."""
    monkeypatch.chdir(ROOT)
    for needed in ("artifacts/models/trained.safetensors", "data/index/city_test/db.h5"):
        if not Path(needed).exists():
            pytest.skip("the city is not built here")
    code, said = vpr("model", "export", "--images", 100, "--out", tmp_path / "x.onnx")
    assert code == 0 and "on 100 images" in said, said


def test_the_json_in_the_file_is_all_of_its_identity(here):
    told = Exported(PATH, 1).identity
    assert set(json.loads(told.as_json())) == {"format", *vars(told)}


def test_int8_is_written_beside_it_and_from_the_variant_the_same(here, vpr, find):
    toy.write_params(
        here, yaml.safe_load(Path("params.yaml").read_text()) | {"train_on": ["toy_val"]}
    )
    code, said = vpr("model", "export", "--variant", "trained", "--code", CODE, "--int8")
    assert code == 0 and f"trained-{CODE}-int8.onnx: alexnet to conv5, netvlad 3" in said, said
    assert "cosine to the full network's at least 0.9" in said
    path = PATH.with_stem(f"{PATH.stem}-int8")
    first = path.read_bytes()
    assert b"QuantizeLinear" in first and b"QuantizeLinear" not in PATH.read_bytes()
    assert find(photo(0), "--code", CODE, "--onnx", path)[0] == 0
    vpr("model", "export", "--variant", "trained", "--code", CODE, "--int8")
    assert path.read_bytes() == first


def test_the_variant_in_int8_is_its_own_export(here, vpr, run, monkeypatch):
    tree = yaml.safe_load(Path("params.yaml").read_text())
    tree["variant_defs"] = {"int8": [{"quantise": {"to": "int8", "images": 6, "seed": 1}}]}
    tree |= {"variants": ["trained", "int8"], "derived": {"int8": "trained"}}
    toy.write_params(here, tree)
    run("make_variant", "int8", "trained", "toy_val", "toy_val")
    code, said = vpr("model", "export", "--variant", "int8", "--code", "full")
    assert code == 0 and "int8-full.onnx: network in int8, full" in said, said
    assert "differs from the pipeline's by" in said
    steps = json.loads(paths.metrics("variants", "int8").read_text())["steps"]
    monkeypatch.setattr(tradeoffs, "bytes_a_row", lambda rows: 4)
    monkeypatch.setattr(Choice, "descriptors", lambda *_: contextlib.nullcontext())
    sizes = tradeoffs.sizes(Choice("toy_val", "int8", "full"), 12)
    assert sizes["parameters"] == steps[-1]["weights"] > 1000
