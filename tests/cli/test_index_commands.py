"""Commands about indexes: parts that are merged are the whole, and the sweep leaves a table."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import toy
from evaluated import SET, VARIANT

from vprlib.pipeline import paths
from vprlib.pipeline.artifacts import write_hdf5

IVF = {"factory": "IVF2,Flat", "train": 100, "seed": 1}
CODES = {
    "full": toy.code(None),
    "ivf": toy.code(None, index=IVF, search={"parameters": "nprobe=2", "refine": 1}),
}


@pytest.fixture
def index(here, run, vpr):
    """Runs `vpr index …` where descriptors of the toy set, drawn by chance, have been encoded."""
    toy.write_params(here, toy.params() | {"code_defs": CODES, "codes": ["ivf"]})
    toy.write_set(paths.RAW, SET)
    run("parse_mat", SET)
    for side, count in (("db", 12), ("queries", 6)):
        vectors = np.random.default_rng(count).normal(size=(count, 8)).astype(np.float32)
        write_hdf5(paths.descriptors(SET, VARIANT, "full", side), {"descriptors": vectors})
    run("fit_code", VARIANT, "ivf")
    run("encode", SET, VARIANT, "ivf")
    return partial(vpr, "index")


@pytest.fixture
def said_by(index):
    """What a command said that must succeed."""

    def run(*arguments: object) -> str:
        code, said = index(*arguments)
        assert code == 0, said
        return said

    return run


def test_parts_built_by_the_commands_and_merged_are_what_the_stage_builds(said_by) -> None:
    assert "start: 0 descriptors" in said_by("part", "--part", "0/2", "--out", "start")
    for which in ("1/2", "2/2"):
        options = ("--part", which, "--trained", "start", "--out", f"part{which[0]}")
        assert "6 descriptors" in said_by("part", *options)
    assert "12 descriptors" in said_by("merge", "part1", "part2", "--out", "merged")
    for path in paths.search_index(SET, VARIANT, "ivf").iterdir():
        assert path.read_bytes() == Path("merged", path.name).read_bytes(), path.name


def test_parts_codes_and_folders_that_are_none_are_refused(index) -> None:
    def refused(*arguments: object) -> str:
        return toy.refusal(*index(*arguments))

    for wrong in ("3/2", "1/0", "1", "a/b"):
        said = refused("part", "--part", wrong, "--out", "x")
        assert f"--part is '{wrong}', but must be such as 1/4" in said
    said = refused("part", "--code", "full", "--part", "1/2", "--out", "x")
    assert "code_defs.full.index is null: name an index" in said
    Path("empty").mkdir()
    said = refused("part", "--part", "1/2", "--trained", "empty", "--out", "x")
    assert "empty has no lists.bin: make it by `vpr index part --part 0/N`" in said
    assert "empty/index.json is missing" in refused("merge", "empty", "--out", "x")
    assert not Path("x").exists()
    said = refused("sweep", "--factory", "IVF2,Flat", "--factory", "PQ3")
    assert "number after PQ must divide the dimensions, here 8" in said
    said = refused("sweep", "--factory", "IVF13,Flat", "--train", "12")
    assert "IVF13,Flat has 13 lists and needs as many" in said
    assert not Path("artifacts/sweeps").exists()


def test_the_sweep_prints_a_table_and_keeps_a_file_and_a_plot(said_by) -> None:
    said = said_by("sweep", "--factory", "IVF2,Flat", "--factory", "SQ8", "--values", "1,2")
    lines = [line.split() for line in said.splitlines()]
    assert lines[0] == ["toy_val,", "trained,", "ivf:", "12", "images,", "6", "queries"]
    assert [line[0] for line in lines[2:6]] == ["exact", "IVF2,Flat", "IVF2,Flat", "SQ8"]
    assert lines[4][1:5] == ["nprobe=2", "1", *lines[2][1:2], "100.0"]
    found = json.loads(Path("artifacts/sweeps/toy_val-trained-ivf.json").read_text())
    assert found["queries"] == 6 and len(found["trials"]) == 4
    assert found["trials"][2]["same_at_20"] == 1
    assert Path("artifacts/sweeps/toy_val-trained-ivf.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(Path("artifacts/sweeps").iterdir())) == 2
