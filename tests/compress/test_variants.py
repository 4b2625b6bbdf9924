"""Whole variants on a toy set: made by the stage, read by all that reads a network."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import toy
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from staged import SET

from benchmarks import variants as benchmark
from vprlib.compress.pruning import by_magnitude, prunable_weights, sparsify, without_channels
from vprlib.compress.settings import Step
from vprlib.compress.variants import check_steps
from vprlib.interop.matlab_write import write_struct
from vprlib.interop.port import write_checkpoint
from vprlib.model.model import Architecture, PlaceModel, read_history, read_model, write_model
from vprlib.model.packing import Form
from vprlib.model.settings import PoolSettings
from vprlib.pipeline import paths
from vprlib.pipeline.params import UserError
from vprlib.train.log import EpochLog
from vprlib.train.trainer import Trainer

LEARN = {"epochs": 1, "learning_rate": 0.003}
PRUNE = {"prune": {"fraction": 0.3, "by": "change", "images": 6, "seed": 1}}
INT8 = {"quantise": {"to": "int8", "images": 6, "seed": 1}}
DEFS = {
    "small": [PRUNE, {"finetune": {**LEARN, "first_layer": None}}],
    "small_int8": [INT8],
    "sparse": [{"sparsify": {"fraction": 0.5}}, {"finetune": {**LEARN, "first_layer": None}}],
    "fp16": [{"round": {"to": "float16"}}],
    "bf16": [{"round": {"to": "bfloat16"}}],
}


def place_model(name: str, cut: str, whitening: int | None = None) -> PlaceModel:
    torch.manual_seed(1)
    model = PlaceModel(Architecture(name, cut, PoolSettings(), 3, whitening))
    torch.nn.init.uniform_(model.pool.centroids)
    return model


@pytest.fixture
def made(here, run, slim):
    """Makes a variant of a network; gives its file and what was said."""
    toy.write_params(here, toy.params() | {"variant_defs": DEFS})
    run("parse_mat", SET)
    write_model(paths.model("trained"), place_model(slim, "conv5"), {})

    def make(variant: str, base: str = "trained") -> tuple[Path, str]:
        return paths.model(variant), run("make_variant", variant, base, SET, SET)

    return make


@pytest.fixture
def described(run):
    """What the pipeline's own stage writes for a variant."""

    def describe(variant: str) -> np.ndarray:
        run("extract_db", SET, variant)
        with h5py.File(paths.descriptors(SET, variant, "full", "db")) as file:
            return file["descriptors"][:]

    return describe


def test_a_pruned_network_learns_and_goes_on_to_int8(made, described):
    _, said = made("small")
    assert "\nsmall: 0.01 MiB, 18 dimensions; trained has 0.01 MiB\n" in said
    path, _ = made("small_int8", "small")
    told = json.loads(paths.metrics("variants", "small_int8").read_text())
    assert [step["step"] for step in told["steps"]] == ["prune", "finetune", "quantise"]
    assert told["steps"][1]["best_epoch"] in (0, 1)
    assert len(told["steps"][1]["log"]) == 2
    assert read_history(path)["steps"] == told["steps"]
    assert not list(paths.SCRATCH.iterdir())
    small, integers = described("small"), described("small_int8")
    assert small.shape == integers.shape == (12, 18)
    assert (small * integers).sum(axis=1).min() > 0.9
    content = path.read_bytes()
    made("small_int8", "small")
    assert path.read_bytes() == content
    with pytest.raises(UserError, match="int8 is, which can only be described with: it cannot be"):
        read_model(path)
    np.testing.assert_allclose(np.linalg.norm(integers, axis=1), 1, rtol=1e-5)


@pytest.mark.slow
def test_zeros_stay_zero_in_what_is_made_of_it(made):
    path, _ = made("sparse")
    weights = prunable_weights(read_model(path))
    assert all((w == 0).sum() == w.numel() // 2 for w in weights.values())
    assert path.stat().st_size < 0.8 * paths.model("trained").stat().st_size


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "precision"), [("fp16", "float32"), ("bf16", "bfloat16")])
def test_half_precision_is_near_and_says_in_what_it_computes(made, described, variant, precision):
    path, _ = made(variant)
    assert read_model(path).precision == precision
    cosines = (described("trained") * described(variant)).sum(axis=1)
    assert cosines.min() > 0.999 and cosines.max() <= 1 + 1e-5


@pytest.mark.slow
def test_learning_that_was_interrupted_goes_on_to_the_same_bytes(made, monkeypatch, capsys):
    path, _ = made("small")
    whole = path.read_bytes()
    path.unlink()

    def stop(trainer: Trainer, row: EpochLog) -> None:
        finish(trainer, row)
        raise KeyboardInterrupt

    finish = Trainer._finish_epoch
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_finish_epoch", stop)
        names = ("small", "trained", SET, SET)
        assert toy.run_stage("make_variant", patch, capsys, *names)[0] == 130
    assert not path.exists()
    made("small")
    assert path.read_bytes() == whole


def test_an_impossible_chain_is_refused_before_anything_runs(here, refused):
    tree = toy.params()
    tree["variant_defs"] = {"half": DEFS["fp16"], "twice": DEFS["small_int8"]}
    tree |= {"variants": ["trained", "twice"], "derived": {"half": "trained", "twice": "half"}}
    toy.write_params(here, tree)
    assert refused("check_switches") == (
        "error: params.yaml: the steps of twice quantise twice: its weights are float16 already.\n"
    )


def test_steps_that_a_network_cannot_go_through_are_refused_before_the_first(slim):
    model = place_model(slim, "conv5")
    model.backbone.append(torch.nn.Linear(3, 3))
    with pytest.raises(UserError, match="alexnet cannot compute in int8: it has a Linear"):
        check_steps(model, [Step(sparsify={"fraction": 0.5}), Step(**INT8)])


def images() -> list[torch.Tensor]:
    values = np.random.default_rng(1).integers(0, 256, (2, 64, 80, 3), dtype=np.uint8)
    return [torch.from_numpy(values)]


READ = """
import hashlib, sys, torch
from pathlib import Path
from vprlib.model.model import read_model
torch.set_num_threads(1)
pixels = torch.arange(2 * 64 * 80 * 3).reshape(2, 64, 80, 3).mul(37).remainder(251).byte()
with torch.no_grad():
    for name in sys.argv[1:]:
        found = read_model(Path(name))(pixels)
        print(hashlib.sha256(found.numpy().tobytes()).hexdigest(), tuple(found.shape))
"""


@pytest.mark.slow
def test_every_form_reads_back_in_a_new_process_to_the_same_bits(tmp_path, capfd):
    model = place_model("resnet18", "layer2")
    narrow = without_channels(model, 0.3, by_magnitude(model))
    forms = {
        "narrow": (narrow, Form()),
        "sparse": (sparsify(model, 0.5), Form(leaves_out_zeros=True)),
    }
    names = []
    for name, (network, form) in forms.items():
        write_model(tmp_path / name, network, {}, form)
        names.append(str(tmp_path / name))
    pixels = torch.arange(2 * 64 * 80 * 3).reshape(2, 64, 80, 3).mul(37).remainder(251).byte()
    with torch.no_grad():
        wanted = [network(pixels).numpy().tobytes() for network, _ in forms.values()]
    run = subprocess.run([sys.executable, "-c", READ, *names], capture_output=True, text=True)
    found = [line.split()[0] for line in run.stdout.splitlines()]
    assert found == [hashlib.sha256(bits).hexdigest() for bits in wanted], run.stderr


def test_files_of_other_systems_hold_no_such_network(tmp_path, slim):
    model = place_model(slim, "conv5")
    narrow = without_channels(model, 0.3, by_magnitude(model))
    for write, system in ((write_checkpoint, "PyTorch port"), (write_struct, "MATLAB network")):
        arguments = (narrow, {}) if write is write_checkpoint else (narrow,)
        with pytest.raises(UserError, match=f"{system} cannot hold a network that has lost chann"):
            write(tmp_path / "out", *arguments)


def test_a_file_that_lost_its_marks_is_a_sentence(tmp_path, slim):
    model = place_model(slim, "conv5")
    with torch.no_grad():
        model.backbone[0].weight[:4] = 0
    write_model(tmp_path / "m", model, {}, Form(leaves_out_zeros=True))
    with safe_open(tmp_path / "m", framework="pt") as file:
        header = file.metadata()
    tensors = {k: v for k, v in load_file(tmp_path / "m").items() if not k.endswith(".kept")}
    save_file(tensors, tmp_path / "m", header)
    with pytest.raises(UserError, match="header and tensors disagree"):
        read_model(tmp_path / "m")


@pytest.mark.slow
def test_the_benchmark_measures_each_way_at_each_batch(slim):
    case = benchmark.Case("slim", Architecture(slim, "conv5", PoolSettings(), 3), 64, 80)
    one, two = benchmark.measure(case, [1, 2], repeats=1, fraction=0.3)
    assert (one["batch"], two["batch"]) == (1, 2)
    assert one["convolutions"] == "5 of 5 convolutions in int8"
    assert one["least_cosine"] > 0.95 and one["file_ratio"] < 1
    ms = one["ms_per_image"]
    assert one["times_as_fast"]["int8"] == ms[one["fastest_float32"]] / ms["int8"]
    assert "slim, batch 1: ms an image: pytorch " in benchmark.sentence(one)
