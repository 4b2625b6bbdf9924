"""A drawn set evaluated in four runs, and what its page holds."""

import base64
import importlib
import json
import os
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import toy
import yaml

from benchmarks.drawn_results import SET, Size, draw
from vprlib.evaluate.predictions import read_predictions
from vprlib.pipeline import paths
from vprlib.pipeline.artifacts import write_json, write_text
from vprlib.verify.rerank import Reranked, write_reranked

VARIANTS, CODES = ("off_the_shelf", "trained"), ("full", "w128")
RUNS = [(variant, code) for variant in VARIANTS for code in CODES]
ODD_NAME = "<img src=x onerror=alert(1)>.jpg"
SIZE = Size(queries=120, database=144, pictures=60, short_side=48)
LOG = """epoch,loss,learning_rate,violating,recall@1,recall@5,recall@10,recall@20,rank_loss
0,,,,0.5,0.75,0.8,0.9,
1,0.05,0.003,0.3,0.625,0.8,0.9,1.0,0.01
"""
AUDIT = {"evaluated": SET, "train": "city_train", "with_train": {"queries_same": 2}}


def stage(name, *names):
    importlib.import_module(f"stages.{name}").main(*names)


def make(folder, size=SIZE):
    draw(folder, size, VARIANTS, CODES, ODD_NAME)
    before = Path.cwd()
    os.chdir(folder)
    for run in RUNS:
        stage("calibrate", SET, *run)
        stage("diagnose", SET, *run)
    write_text(Path("metrics/train.csv"), LOG)
    said = ["2 queries of drawn are copied in city_train"]
    write_json(Path(f"metrics/audit/{SET}.json"), AUDIT | {"said": said, "remarks": ["a remark"]})
    write_text(Path(f"artifacts/reports/{SET}_missing.txt"), "one.jpg is missing\n")
    os.chdir(before)


def with_history():
    """Commits the set of this folder, and then gives `trained` the answers of another run."""
    repo = toy.new_repository()
    repo.add(["artifacts/predictions", "artifacts/calibration", "data/index"])
    toy.git("add", "-A", ":!data/raw")
    toy.git("commit", "-qm", "Draw <b>a set</b>")
    toy.git("branch", "old")
    for path in (paths.predictions, partial(paths.result_metrics, "recall")):
        source, target = path(SET, *RUNS[1]), path(SET, *RUNS[2])
        target.unlink()  # it may be a link into the cache
        shutil.copy(source, target)
    tree = yaml.safe_load(Path("params.yaml").read_text())
    tree["train"]["epochs"] = 99
    write_text(Path("params.yaml"), yaml.safe_dump(tree, sort_keys=False))


def look_again():
    """Gives the runs of the code `full` a second look at the first ten results, with inliers."""
    tree = yaml.safe_load(Path("params.yaml").read_text()) | {"rerank_on": [SET]}
    write_text(Path("params.yaml"), yaml.safe_dump(tree, sort_keys=False))
    for number, run in enumerate((variant, "full") for variant in VARIANTS):
        found = read_predictions(paths.predictions(SET, *run), paths.index(SET, "db").parent)
        inliers = np.full(found.rows.shape, -1, np.int32)
        chance = np.random.default_rng(number).integers(0, 30, (len(inliers), 10))
        inliers[:, :10] = chance + 25 * found.right[:, :10]
        ranks = np.argsort(-inliers, axis=1, kind="stable")
        arrays = (found.rows, found.distances, inliers)
        made = Reranked(*(np.take_along_axis(one, ranks, axis=1) for one in arrays), ranks)
        write_reranked(paths.reranked(SET, *run), made, {})
        stage("second_look", SET, *run)


def registered(path):
    """The content that a script of data registers."""
    text = path.read_text()
    assert text.isascii() and text.endswith(");\n")
    return json.loads(text[text.index(",") + 1 : -3])


def unpacked(packed):
    return np.frombuffer(base64.b64decode(packed["base64"]), f"<{packed['kind']}")
