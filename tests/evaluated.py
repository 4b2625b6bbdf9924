"""A toy set evaluated by several codes in a folder, as the pipeline would leave it."""

import importlib
import os
from pathlib import Path

import toy

from vprlib.descriptors import files

INDEX = {side: Path(f"data/index/toy_val/{side}.h5") for side in ("db", "queries")}
MODEL = Path("artifacts/models/trained.safetensors")
VECTORS = {side: Path(f"artifacts/descriptors/toy_val/trained/{side}.h5") for side in INDEX}
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
WHITENING = Path("artifacts/whitening/trained.h5")
VERDICT = Path("artifacts/audit/toy_val.txt")


def predictions(code):
    return Path(f"artifacts/predictions/toy_val/trained-{code}.h5")


def stage(name, **options):
    importlib.import_module(f"stages.{name}").main(**options)


def evaluate(code):
    """Encodes and searches the toy set by one code."""
    coded = Path(f"artifacts/codes/toy_val/trained/{code}.h5")
    sides = {side: VECTORS[side] for side in ("db", "queries")}
    coder = Path(f"artifacts/coders/trained/{code}.h5")
    search_index = Path(f"artifacts/indexes/toy_val/trained/{code}")
    stage("fit_code", code=code, sample=Path("fit_on.h5"), whitening=WHITENING, out=coder)
    stage("encode", code=code, coder=coder, out=coded, **sides)
    stage("build_index", code=code, db=sides["db"], coded=coded, out=search_index)
    stage(
        "recall",
        dataset="toy_val",
        variant="trained",
        code=code,
        db_index=INDEX["db"],
        queries_index=INDEX["queries"],
        coded=coded,
        search_index=search_index,
        verdict=VERDICT,
        predictions_out=predictions(code),
        metrics_out=Path("m.json"),
        curve_out=Path("c.csv"),
        plot_out=Path("p.png"),
        **sides,
    )


def make(folder):
    """The toy set, parsed, described and searched, with paths as dvc.yaml has them."""
    before = Path.cwd()
    os.chdir(folder)
    raw, sample, words = Path("data/raw"), Path("sample.h5"), Path("words.h5")
    toy.write_params(folder, toy.params() | {"code_defs": CODES | INDEXED})
    toy.write_set(raw, "toy_val")
    stage(
        "parse_mat",
        dataset="toy_val",
        mat=raw / "toy/datasets/toy_val.mat",
        images=raw / "toy",
        reports=Path("reports"),
        db_out=INDEX["db"],
        queries_out=INDEX["queries"],
        metrics_out=Path("m.json"),
    )
    weights, network = raw / "weights", {"raw": raw, "model": MODEL}
    describing = network | {"scratch": Path("scratch"), "reports": Path("reports")}
    stage("sample_features", recipe="toy", db=INDEX["db"], raw=raw, weights=weights, out=sample)
    stage("kmeans_centroids", recipe="toy", sample=sample, weights=weights, out=words)
    stage("init_model", recipe="toy", weights=weights, out=MODEL, sample=sample, centroids=words)
    for side, name in (("db", "extract_db"), ("queries", "extract_queries")):
        stage(name, dataset="toy_val", index=INDEX[side], out=VECTORS[side], **describing)
    fit_on = {"codes": Path("codes.txt"), "index": INDEX["db"], "out": Path("fit_on.h5")}
    fit_on["codes"].write_text(files.words(True))
    stage("extract_train", recipe="toy", variant="trained", **describing, **fit_on)
    stage("fit_whitening", sample=fit_on["out"], out=WHITENING)
    VERDICT.parent.mkdir()
    VERDICT.write_text("\n")
    for code in CODES | INDEXED:
        evaluate(code)
    os.chdir(before)


def photo(row):
    return QUERIES / f"{row:03d}/toy_val_q{row:03d}.jpg"
