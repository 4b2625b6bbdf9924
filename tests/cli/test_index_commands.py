"""The command `vpr index sweep` prints a table, and leaves a file and a plot."""

import json
from pathlib import Path

import numpy as np
import pytest
import toy

from vprlib.pipeline import paths
from vprlib.pipeline.artifacts import write_hdf5

SIDES = {"db": 12, "queries": 6}
IVF = {"factory": "IVF2,Flat", "train": 100, "seed": 1}
CODES = {
    "full": toy.code(None),
    "ivf": toy.code(None, index=IVF, search={"parameters": "nprobe=2", "refine": 1}),
}
IN_CODE = ("toy_val", "trained", "ivf")


@pytest.fixture
def run(tmp_path, monkeypatch, capsys, vpr):
    """Runs `vpr index …` in a folder with random descriptors of the toy set."""
    monkeypatch.chdir(tmp_path)
    toy.write_params(tmp_path, toy.params() | {"code_defs": CODES, "codes": ["ivf"]})
    toy.write_set(Path("data/raw"), "toy_val")

    def stage(name, *names):
        code, said = toy.run_stage(name, monkeypatch, capsys, *names)
        assert code == 0, said

    stage("parse_mat", "toy_val")
    for side, count in SIDES.items():
        vectors = np.random.default_rng(count).normal(size=(count, 8)).astype(np.float32)
        write_hdf5(paths.descriptors("toy_val", "trained", "full", side), {"descriptors": vectors})
    write_hdf5(paths.coder("trained", "ivf"), {}, {"precision": "float32", "query": "float32"})
    stage("encode", *IN_CODE)

    def index(*arguments: object) -> str:
        code, said = vpr("index", *arguments)
        assert (code == 0) != said.startswith("error: "), said
        return said

    return index


def test_indexes_that_faiss_cannot_build_are_refused(run) -> None:
    said = run("sweep", "--factory", "IVF2,Flat", "--factory", "PQ3")
    assert "number after PQ must divide the dimensions, here 8" in said
    said = run("sweep", "--factory", "IVF13,Flat", "--train", "12")
    assert "IVF13,Flat has 13 lists and needs as many" in said
    assert not Path("artifacts/sweeps").exists()


def test_the_sweep_prints_a_table_and_keeps_a_file_and_a_plot(run) -> None:
    said = run("sweep", "--factory", "IVF2,Flat", "--factory", "SQ8", "--values", "1,2")
    lines = [line.split() for line in said.splitlines()]
    assert lines[0] == ["toy_val,", "trained,", "ivf:", "12", "images,", "6", "queries"]
    assert [line[0] for line in lines[2:6]] == ["exact", "IVF2,Flat", "IVF2,Flat", "SQ8"]
    assert lines[4][1:5] == ["nprobe=2", "1", *lines[2][1:2], "100.0"]
    found = json.loads(Path("artifacts/sweeps/toy_val-trained-ivf.json").read_text())
    assert found["queries"] == 6 and len(found["trials"]) == 4
    assert found["trials"][2]["same_at_20"] == 1
    assert Path("artifacts/sweeps/toy_val-trained-ivf.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(Path("artifacts/sweeps").iterdir())) == 2


def test_the_sweep_prints_json_alone_where_that_is_asked_for(run) -> None:
    found = json.loads(run("sweep", "--factory", "IVF2,Flat", "--values", "2", "--json"))
    assert found == json.loads(Path("artifacts/sweeps/toy_val-trained-ivf.json").read_text())
