"""A network in ONNX from elsewhere as a variant, through the stages."""

import h5py
import numpy as np
import pytest
import torch
import toy
from PIL import Image
from staged import SET, TRAIN, edit_params, to_model

from vprlib.images.index import read_index
from vprlib.pipeline import paths

pytest.importorskip("onnxruntime")
INPUT = {"size": [32, 24], "mean": [0.5] * 3, "std": [0.25] * 3}


def write_onnx_file():
    """From PyTorch's own exporter, as others would write it."""
    pytest.importorskip("onnxscript")
    torch.manual_seed(1)
    layers = torch.nn.Conv2d(3, 6, 5, 2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1)
    network = torch.nn.Sequential(*layers, torch.nn.Flatten()).eval()
    paths.WEIGHTS.mkdir(parents=True, exist_ok=True)
    path = paths.WEIGHTS / "theirs.onnx"
    torch.onnx.export(
        network, (torch.zeros(1, 3, 24, 32),), path, dynamo=True, verbose=False, external_data=False
    )
    return network


def test_a_network_in_onnx_is_evaluated_beside_netvlad(here, run):
    network = write_onnx_file()
    toy.write_set(here / "data/raw", "toy_val")
    edit_params(here, "networks", theirs={"file": "theirs.onnx", "input": INPUT})
    to_model(run)
    said = run("load_model", "theirs")
    assert (
        "theirs: taken from data/raw/weights/theirs.onnx, a network in ONNX: images of 32×24"
        in said
    )
    for variant in ("off_the_shelf", "theirs"):
        for stage in ("extract_db", "extract_queries"):
            run(stage, SET, variant)
        run("search", SET, variant, "full")
        assert "recall@1" in run("recall", SET, variant, "full")
    with h5py.File(paths.descriptors(SET, "theirs", "full", "db")) as file:
        assert file.attrs["precision"] == "onnx"
        found = file["descriptors"][:]
    index = read_index(paths.index(SET, "db"))
    image = Image.open(here / "data/raw/toy" / index.names[0]).convert("RGB")
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
    small = torch.nn.functional.interpolate(pixels, (24, 32), mode="bilinear", antialias=True)
    expected = network((small / 255 - 0.5) / 0.25).detach().numpy()[0]
    np.testing.assert_allclose(found[0], expected / np.linalg.norm(expected), atol=1e-5)


def test_a_network_in_onnx_teaches_a_student(here, run, slim):
    write_onnx_file()
    to_model(run)
    tree = toy.params()
    tree["networks"] = {"theirs": {"file": "theirs.onnx", "input": INPUT}}
    tree["train"] = {"kind": "distil", "teacher": "theirs", "epochs": 1, "first_layer": "conv4"}
    tree["train"] |= {"images_a_batch": 6, "schedule": {"kind": "steps"}}
    toy.write_params(here, tree)
    run("load_model", "theirs")
    assert run("train", *TRAIN).rstrip().endswith("; 18 images learnt from, 0 unreadable")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (None, "theirs.onnx is a network in ONNX, which does not tell how it takes images"),
        ({"layout": "nhwc"}, "which is not nhwc with three colours"),
        ({"size": [24, 32]}, "takes images with a width of 32 and a height of 24"),
        ({"std": None}, "mean and std should both be numbers, or both null"),
    ],
)
def test_a_network_in_onnx_that_does_not_fit_is_refused_at_once(here, refused, changes, sentence):
    write_onnx_file()
    entry = {"file": "theirs.onnx"} | ({} if changes is None else {"input": INPUT | changes})
    edit_params(here, "networks", theirs=entry)
    assert sentence in refused("load_model", "theirs")


def test_what_is_no_onnx_is_refused_at_once(here, refused):
    paths.WEIGHTS.mkdir()
    (paths.WEIGHTS / "theirs.onnx").write_bytes(b"no network")
    edit_params(here, "networks", theirs={"file": "theirs.onnx", "input": INPUT})
    assert "is not a network that ONNX Runtime can run" in refused("load_model", "theirs")
