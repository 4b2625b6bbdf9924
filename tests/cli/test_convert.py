"""`vpr model convert`: networks and words from any of the systems to any other."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import torch
import toy

from vprlib.interop.networks import read_network
from vprlib.interop.words import kind_of, read_words, write_mat_words
from vprlib.model.model import Architecture, PlaceModel, read_history, write_model
from vprlib.model.settings import PoolSettings


@pytest.fixture
def run(tmp_path, monkeypatch, vpr):
    """Exit code and what was printed, inside the test's folder."""
    monkeypatch.chdir(tmp_path)
    return lambda source, out, *more: vpr("model", "convert", source, "--out", out, *more)


@pytest.fixture
def model(tmp_path, slim):
    torch.manual_seed(1)
    made = PlaceModel(Architecture("alexnet", "conv5", PoolSettings(version="v2"), 4))
    torch.nn.init.normal_(made.pool.centroids)
    write_model(tmp_path / "m.safetensors", made, {"best_epoch": 7, "recipe": "city"})
    return made


def test_a_model_goes_to_the_port_and_comes_back(tmp_path, run, model):
    code, said = run("m.safetensors", "c.pth.tar", "--to", "port")
    assert code == 0 and said == (
        "read m.safetensors, a model of vprlib: alexnet (conv5), NetVLAD v2, K 4, 32 dimensions\n"
        "wrote c.pth.tar and flags.json\n"
    )
    code, said = run("c.pth.tar", "again.safetensors", "--to", "vprlib")
    assert code == 0 and "a checkpoint of the PyTorch port: alexnet" in said and "epoch 7" in said
    again = read_network(Path("again.safetensors")).model
    for name, tensor in model.state_dict().items():
        assert tensor.numpy().tobytes() == again.state_dict()[name].numpy().tobytes()
    assert read_history(Path("again.safetensors")) == {"epoch": 7, "best_score": 0.0}


@pytest.mark.parametrize("out", ["folder", "flags.json", "m.safetensors/c.pth", ""])
def test_a_checkpoint_that_cannot_be_written_leaves_no_options(tmp_path, run, model, out):
    (tmp_path / "folder").mkdir()
    said = toy.refusal(*run("m.safetensors", out, "--to", "port"))
    assert "could not be written" in said or "give the checkpoint another name" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "m.safetensors"]


def test_the_words_of_a_network_are_written_for_matlab(run, model):
    code, said = run("m.safetensors", "w.mat", "--to", "centroids-mat")
    assert code == 0 and said.startswith("read m.safetensors: 4 visual words of 8 dimensions\n")
    wanted = model.pool.centroids.detach().numpy()
    np.testing.assert_array_equal(scipy.io.loadmat("w.mat")["clsts"], wanted.T)


def test_words_go_to_the_port_with_the_descriptors_of_a_sample(run):
    write_mat_words(Path("w.mat"), np.eye(3, 5, dtype=np.float32))
    code, said = run("w.mat", "w.hdf5", "--to", "centroids-port")
    assert code == 1 and "needs local descriptors as well" in said and not Path("w.hdf5").exists()
    with h5py.File("sample.h5", "w") as file:
        file["descriptors"] = np.ones((7, 5), np.float32)
        file["image_names"] = ["a", "b"]
    code, said = run("w.mat", "w.hdf5", "--to", "centroids-port", "--descriptors", "sample.h5")
    assert code == 0
    found = read_words(Path("w.hdf5"))
    assert (found.centroids.shape, found.descriptors.shape) == ((3, 5), (7, 5))


@pytest.mark.parametrize(
    ("to", "problem"),
    [
        ("matlab", "the MATLAB network cannot hold the backbone alexnet"),
        ("centroids-port", "needs local descriptors as well"),
    ],
)
def test_what_cannot_be_written_is_one_sentence_and_replaces_nothing(run, model, to, problem):
    Path("out").write_text("before")
    assert problem in toy.refusal(*run("m.safetensors", "out", "--to", to))
    assert Path("out").read_text() == "before"


def test_words_are_no_network_and_a_network_may_have_no_words(tmp_path, run, slim):
    write_mat_words(Path("w.mat"), np.eye(3, 5, dtype=np.float32))
    assert (
        "should hold a network as a struct 'net', but holds clsts"
        in run("w.mat", "m", "--to", "vprlib")[1]
    )
    with h5py.File("w.h5", "w") as file:
        file["centroids"] = np.eye(2)
    assert "is a file of visual words, for kmeans.file" in run("w.h5", "m", "--to", "port")[1]
    gem = PlaceModel(Architecture("alexnet", "conv5", PoolSettings(kind="gem")))
    write_model(Path("g"), gem, {})
    assert (
        "has no visual words, because its pool is gem" in run("g", "w", "--to", "centroids-mat")[1]
    )


def test_a_missing_file_is_one_sentence(run):
    code, said = run("none", "out", "--to", "vprlib")
    assert code == 1 and said == (
        "error: none cannot be read (no such file or directory): put or link a file there.\n"
    )


@pytest.mark.parametrize("length", [0x80, 0x580, 0x4B50, 0x04034B50, 96])
def test_a_model_of_ours_is_known_however_long_its_header(tmp_path: Path, length: int) -> None:
    """The length stands first, and may begin like a pickle or a zip."""
    content = length.to_bytes(8, "little") + b'{"__metadata__"'
    with (tmp_path / "m").open("wb") as file:
        file.write(content)
        file.truncate(length + 100)
    assert kind_of(tmp_path / "m") == "safetensors"
