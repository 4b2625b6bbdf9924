"""A toy set evaluated in several codes in a folder, as the pipeline would leave it."""

import importlib
import os
from pathlib import Path

import toy
import yaml

from vprlib.pipeline import paths

SET, VARIANT = "toy_val", "trained"
INDEX = {side: paths.index(SET, side) for side in ("db", "queries")}
MODEL = paths.model(VARIANT)
VECTORS = {side: paths.descriptors(SET, VARIANT, "full", side) for side in INDEX}
QUERIES = Path("data/raw/toy/queries_real")

CODES = {
    "full": toy.code(None),
    "w4": toy.code(4),
    "w8_int8": toy.code(8, precision="int8"),
    "w8_binary": toy.code(8, precision="binary", query="coded"),
}
IVF = {
    "index": {"factory": "IVF3,Flat", "train": 100, "seed": 1},
    "search": {"parameters": "nprobe=1", "refine": 1},
}
INDEXED = {
    "ivf": toy.code(None, **IVF),
    "w8_int8_ivf": toy.code(8, precision="int8", query="coded", **IVF),
}


def predictions(code):
    return paths.predictions(SET, VARIANT, code)


def stage(name, *names):
    importlib.import_module(f"stages.{name}").main(*names)


def evaluate(code):
    """Encodes and searches the toy set in one code."""
    names = (SET, VARIANT, code)
    if code != "full":
        stage("fit_code", VARIANT, code)
        stage("encode", *names)
    stage("search", *names)
    stage("recall", *names)


def make(folder):
    """The toy set, parsed, described and searched."""
    before = Path.cwd()
    os.chdir(folder)
    toy.write_params(folder, toy.params() | {"code_defs": CODES | INDEXED})
    toy.write_set(Path("data/raw"), SET)
    stage("parse_mat", SET)
    for name in ("sample_features", "kmeans_centroids", "init_model"):
        stage(name, SET)
    paths.model("off_the_shelf").rename(MODEL)
    stage("extract_db", SET, VARIANT)
    stage("extract_queries", SET, VARIANT)
    stage("extract_train", SET, VARIANT)
    stage("fit_whitening", VARIANT)
    for code in CODES | INDEXED:
        evaluate(code)
    os.chdir(before)


def by_another_network():
    """Describes the database of this folder anew, by other visual words."""
    tree = yaml.load(Path("params.yaml").read_text(), toy.LOADER)
    tree["kmeans"]["seed"] = 5
    toy.write_params(Path(), tree)
    MODEL.unlink()
    for name in ("kmeans_centroids", "init_model"):
        stage(name, SET)
    paths.model("off_the_shelf").rename(MODEL)
    stage("extract_db", SET, VARIANT)


def photo(row):
    return QUERIES / f"{row:03d}/toy_val_q{row:03d}.jpg"
