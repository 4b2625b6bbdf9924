"""The table of all variants and codes: recall beside size and speed, in three forms."""

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import toy
from evaluated import MODEL, SET, VARIANT, predictions

from vprlib.cli import costs, tradeoffs
from vprlib.cli.choice import Choice
from vprlib.cli.costs import Cost
from vprlib.compress.pruning import sparsify
from vprlib.model.model import read_model, write_model
from vprlib.model.packing import Form
from vprlib.pipeline import paths

METRICS = paths.result_metrics("recall", SET, VARIANT, "full").parent
OUT = Path("artifacts/tradeoffs")


def measured(network, coders, size, threads):
    """In place of the real thing, which takes seconds."""
    assert size == (80, 64)
    coding = {str(coder): dict.fromkeys(threads, 0.25) for coder in coders}
    return [Cost(b, {t: 8.0 / t for t in threads}, coding, 10**8 * b) for b in (1, 16)]


@pytest.fixture
def run(made_here, monkeypatch, vpr):
    codes = ["full", "w4", "w8_int8", "w8_binary"]
    tree = toy.params() | {"variants": ["trained"], "codes": codes}
    tree["runtime"]["threads"] = 2
    toy.write_params(made_here, tree)
    monkeypatch.setattr(costs, "measured_apart", measured)
    return partial(vpr, "tradeoffs")


def test_each_variant_and_code_has_a_row(run):
    code, said = run()
    assert code == 0, said
    rows = json.loads((OUT / "variants.json").read_text())
    assert [row["code"] for row in rows] == ["full", "w4", "w8_int8", "w8_binary"]
    assert [row["descriptor_bytes"] for row in rows] == [4 * 768, 16, 8, 1]
    model = MODEL.stat().st_size
    for row in rows:
        with h5py.File(predictions(row["code"])) as file:
            right = file["hits"][:]
        for n in (1, 5, 10, 20):
            assert row[f"recall@{n}"] == right[:, :n].any(axis=1).mean()
            low, high = row[f"recall@{n}_low"], row[f"recall@{n}_high"]
            assert low <= row[f"recall@{n}"] <= high
        change = row["difference@1"]
        assert change["value"] == pytest.approx(row["recall@1"] - rows[0]["recall@1"])
        assert change["low"] <= change["value"] <= change["high"]
        coder = paths.coder(VARIANT, row["code"])
        assert row["file_bytes"] == model + (coder.stat().st_size if coder.exists() else 0)
        coding_ms = 0.25 if coder.exists() else 0.0
        assert row["ms_per_image"] == row["ms_per_image_batch_1_threads_2"] == 4 + coding_ms
        assert row["ms_per_image_batch_16_threads_1"] == 8 + coding_ms
        assert row["peak_bytes"] == 10**8 and row["peak_bytes_batch_16"] == 16 * 10**8
        assert row["onnx"] is None and row["queries"] == 6
    assert rows[1]["parameters"] == rows[0]["parameters"] + 768 * 5  # four rows and a mean
    lines = said.splitlines()
    assert lines == (OUT / "variants.md").read_text().splitlines()
    assert len(lines) == 2 + 4 and lines[0].startswith("| Network | Code | R@1 | R@5 |")
    assert {line.count("|") for line in lines} == {lines[0].count("|")}
    assert (OUT / "variants.png").read_bytes().startswith(b"\x89PNG")


def test_what_a_file_leaves_out_is_no_parameter(run):
    choice = Choice("toy_val", "trained", "full")
    whole, model = tradeoffs.sizes(choice, 12), read_model(choice.model_path)
    write_model(choice.model_path, sparsify(model, 0.5), {}, Form(leaves_out_zeros=True))
    kept = tradeoffs.sizes(choice, 12)
    weights = sum(int(t.count_nonzero()) for t in sparsify(model, 0.5).state_dict().values())
    assert weights <= kept["parameters"] < 0.6 * whole["parameters"]
    assert kept["file_bytes"] < 0.7 * whole["file_bytes"]


def test_an_export_has_its_own_size_and_speed(run):
    path = Path("artifacts/onnx/trained-w4.onnx")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x" * 1000)
    assert run()[0] == 0
    rows = json.loads((OUT / "variants.json").read_text())
    assert [row["onnx"] is None for row in rows] == [True, False, True, True]
    assert rows[1]["onnx"]["file_bytes"] == 1000 and rows[1]["onnx"]["ms_per_image"] == 4.0


def test_what_is_not_evaluated_is_named(run, made_here):
    code, said = run("--against", "trained/w9")
    assert code == 1 and "--against is trained/w9, which params.yaml does not evaluate" in said
    (METRICS / "trained-w4.json").unlink()
    code, said = run()
    assert code == 1 and "trained-w4.json is missing: check that set" in said
    assert not (made_here / OUT / "variants.json").exists()


def test_queries_without_an_answer_are_left_out_where_recall_left_them_out(run, monkeypatch):
    asked = np.array([True, True, False, True, True, True])
    truth = SimpleNamespace(counts=lambda: asked.astype(int), radius_m=25.0)
    monkeypatch.setattr("vprlib.evaluate.predictions.judged", lambda *given: truth)
    for path in METRICS.glob("*.json"):
        path.write_text(json.dumps({"denominator": "answerable"}))
    assert run()[0] == 0
    rows = json.loads((OUT / "variants.json").read_text())
    assert {row["queries"] for row in rows} == {5}


def test_the_commonest_size_is_that_of_the_network(index_at):
    from vprlib.images.decode import ImageSettings

    index = index_at([(0, 0)] * 5)
    index.widths[:2] = 32
    assert tradeoffs.commonest_size(index, ImageSettings()) == (64, 48)
    assert tradeoffs.commonest_size(index, ImageSettings(resize=96)) == (128, 96)
