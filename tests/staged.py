"""The names that tests of whole stages call them by, and what the toy set's files are called."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import toy
from groups import worker_of

from vprlib.pipeline import paths

SET, VARIANT = "toy_train", "off_the_shelf"
TRAIN = (SET, SET, VARIANT)  # training set, validation set, start
EXTRACT = (SET, VARIANT)
FULL = (SET, VARIANT, "full")
MAT = paths.RAW / "toy/datasets/toy_train.mat"
MODEL = paths.model(VARIANT)
VECTORS = {side: paths.descriptors(*FULL, side) for side in ("db", "queries")}


def edit_params(here, place, **values):
    """The toy's params.yaml with these values at a place."""
    tree = node = toy.params()
    for key in place.split(".") if place else ():
        node = node[key]
    node.update(values)
    toy.write_params(here, tree)


def use_codes(here, run, codes, **whitening):
    """Evaluates the toy in these codes; they are fitted on its training set."""
    toy.write_set(here / "data/raw", "toy_val")
    fitted = [code for code in codes if code != "full"]
    tree = toy.params() | {"codes": codes, "fitted": fitted, "fit_on": [SET] if fitted else []}
    tree["whitening"].update(whitening)
    tree["code_defs"]["w4"] = toy.code(4)
    toy.write_params(here, tree)
    run("check_switches")


def to_model(run):
    for stage in ("parse_mat", "sample_features", "kmeans_centroids", "init_model"):
        run(stage, SET)


def describe_sides(run, variant=VARIANT):
    run("extract_db", SET, variant)
    run("extract_queries", SET, variant)


def fit_and_encode(run, code):
    """Gives what encoding said."""
    run("fit_code", VARIANT, code)
    return run("encode", SET, VARIANT, code)


def search_and_recall(run, code="full", variant=VARIANT):
    """Gives what recall said."""
    run("search", SET, variant, code)
    return run("recall", SET, variant, code)


def trained_in_processes(here: Path, is_killed: bool) -> tuple[bytes, str]:
    """The network and the log, less the rank loss, of `train` as a program of its own.

    If it is killed, one of its processes is, and then it is started again.
    """

    def start() -> subprocess.Popen:
        environment = os.environ | {"PYTHONPATH": str(toy.ROOT)}
        arguments = [sys.executable, "-m", "stages.train", *TRAIN]
        return subprocess.Popen(
            arguments, cwd=here, env=environment, stderr=subprocess.PIPE, text=True
        )

    process = start()
    if is_killed:
        while not list(paths.SCRATCH.glob("train-*/state.pt")):
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.005)
        os.kill(worker_of(process.pid), signal.SIGKILL)
        assert "was stopped by SIGKILL: run `dvc repro` again" in process.communicate()[1]
        process = start()
    said = process.communicate()[1]
    assert process.returncode == 0, said
    log = [line.rpartition(",")[0] for line in paths.TRAIN_LOG.read_text().splitlines()]
    return paths.model("trained").read_bytes(), "\n".join(log)
