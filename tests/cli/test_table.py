"""The table of all variants, and what training gained."""

import importlib
import json
import os
import shutil
from pathlib import Path

import pytest
import toy
from evaluated import SET, VARIANT, VECTORS

from vprlib.cli.table import cost, markdown, read_rows, table
from vprlib.images.index import read_index
from vprlib.pipeline import paths
from vprlib.pipeline.artifacts import write_json
from vprlib.pipeline.command import read_notes
from vprlib.pipeline.params import UserError


def write(folder, name, more=None, **recalls):
    path = folder / "toy" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    found = {f"recall@{n[1:]}": v for n, v in recalls.items()} | {"queries": 4}
    path.write_text(json.dumps(found | (more or {})))


def test_the_gain_of_training_is_the_difference_in_points(tmp_path):
    write(tmp_path, "off_the_shelf-full", n1=0.25, n10=0.5)
    write(tmp_path, "trained-full", n1=0.75, n10=0.4)
    assert table(read_rows(tmp_path)) == (
        "set  variant             code  recall@1  recall@10\n"
        "toy  off_the_shelf       full      25.0       50.0\n"
        "toy  trained             full      75.0       40.0\n"
        "toy  gained by training  full     +50.0      -10.0"
    )


def test_the_table_of_markdown_names_the_protocol(tmp_path):
    plain = {"protocol": "plain", "denominator": "all"}
    write(tmp_path, "off_the_shelf-full", plain, n1=0.25, n10=0.5)
    write(tmp_path, "trained-full", plain, n1=0.75, n10=0.4)
    assert markdown(read_rows(tmp_path)) == (
        "| Set | Network | Code | Protocol | R@1 | R@10 |\n"
        "| :-- | :-- | :-- | :-- | --: | --: |\n"
        "| toy | off_the_shelf | full | plain | 25.0 | 50.0 |\n"
        "| toy | trained | full | plain | 75.0 | 40.0 |\n"
        "| toy | gained by training | full | plain | +50.0 | -10.0 |"
    )


def test_any_other_protocol_or_denominator_has_a_column_in_the_text(tmp_path):
    lights = {"day": {"recall@1": 0.5}, "protocol": "tokyo247", "denominator": "all"}
    write(tmp_path, "trained-full", lights, n1=0.5)
    write(tmp_path, "trained-w8", {"protocol": "plain", "denominator": "answerable"}, n1=0.25)
    write(tmp_path, "trained-w9", {"protocol": "plain", "sequence_frames": 5}, n1=0.75)
    assert table(read_rows(tmp_path)) == (
        "set  variant  code  protocol           recall@1\n"
        "toy  trained  full  tokyo247               50.0\n"
        "toy  trained  w8    plain, answerable      25.0\n"
        "toy  trained  w9    plain, 5 frames        75.0"
    )


def test_map_has_a_column_where_a_set_is_ranked(tmp_path):
    write(tmp_path, "off_the_shelf-full", {"protocol": "ranked", "map": 0.5}, n1=0.25)
    write(tmp_path, "trained-full", {"protocol": "ranked", "map": 0.625}, n1=0.25)
    write(tmp_path, "trained-w8", n1=0.25)
    rows = read_rows(tmp_path)
    assert markdown(rows).splitlines()[0].endswith("| R@1 | mAP |")
    assert markdown(rows).splitlines()[-1].endswith("| ranked | +0.0 | +12.5 |")
    assert [line.split()[-1] for line in table(rows).splitlines()] == [
        "map", "50.0", "62.5", "-", "+12.5",
    ]  # fmt: skip


def test_a_recall_with_an_interval_shows_it_and_its_ends_are_no_columns(tmp_path):
    ends = {"recall@1_low": 0.5104, "recall@1_high": 0.7}
    write(tmp_path, "trained-full", ends, n1=0.625)
    assert table(read_rows(tmp_path)) == (
        "set  variant  code          recall@1\ntoy  trained  full  62.5 (51.0–70.0)"
    )
    assert markdown(read_rows(tmp_path)).endswith("| plain | 62.5 (51.0–70.0) |")


def test_figures_of_two_protocols_are_not_subtracted(tmp_path):
    write(tmp_path, "off_the_shelf-full", {"protocol": "plain"}, n1=0.25)
    write(tmp_path, "trained-full", {"protocol": "tokyo247"}, n1=0.75)
    assert "gained" not in table(read_rows(tmp_path))


def test_the_command_prints_each_form(tmp_path, monkeypatch, vpr):
    toy.write_params(tmp_path, toy.params() | {"eval_on": ["toy"]})
    write(tmp_path, "trained-full", n1=0.75)
    monkeypatch.chdir(tmp_path)
    said = [vpr("table", *form, "--metrics", ".") for form in ([], ["--markdown"])]
    rows = read_rows(tmp_path)
    assert said == [(0, f"{table(rows)}\n"), (0, f"{markdown(rows)}\n")]
    assert json.loads(vpr("table", "--json", "--metrics", ".")[1]) == [
        {"set": "toy", "variant": "trained", "code": "full", "leaks": []}
        | {"recall@1": 0.75, "queries": 4}
    ]


def test_leaks_from_a_training_set_in_use_are_told_below_the_table(tmp_path, monkeypatch, vpr):
    monkeypatch.chdir(tmp_path)
    toy.write_params(tmp_path, toy.params() | {"eval_on": ["toy"]})
    write(tmp_path, "trained-full", n1=0.75)
    said = ["1 queries of toy are copied in toy_train"]
    audit_path = paths.metrics("audit", "toy")
    write_json(audit_path, {"train": "toy_train", "said": said})
    printed = vpr("table", "--metrics", ".")[1]
    assert printed.endswith(f"\n\ntoy: LEAK: {said[0]}\n")
    assert json.loads(vpr("table", "--json", "--metrics", ".")[1])[0]["leaks"] == said
    write_json(audit_path, {"train": "of_before", "said": said})
    assert "LEAK" not in vpr("table", "--metrics", ".")[1]


def test_one_variant_alone_has_no_gain(tmp_path):
    write(tmp_path, "trained-full", n1=0.75)
    assert "gained" not in table(read_rows(tmp_path))


def test_no_metrics_yet_is_said(tmp_path):
    with pytest.raises(UserError, match="holds no metrics of recall: run `dvc repro` first"):
        read_rows(tmp_path)


def note(side, **told):
    """What a stage that made the descriptors of a side would have noted."""
    made = VECTORS[side].stat().st_mtime
    run = {"started": made - 5, "seconds": 6.0, "processor": "one", "told": told}
    command = f"python -m stages.extract_{side} {SET} {VARIANT}"
    write_json(paths.TIMES / f"extract_{side}.json", {"command": command, **run})


def test_a_second_table_has_what_a_descriptor_costs(made_here, vpr):
    tree = toy.params() | {"eval_on": [SET], "variants": [VARIANT], "codes": ["full", "w8_binary"]}
    toy.write_params(made_here, tree)
    folder = Path("metrics/recall") / SET
    for code in ("full", "w8_binary"):
        write_json(folder / f"{VARIANT}-{code}.json", {"recall@1": 0.5})
    note("db", described=30, describing=0.2)
    note("queries", described=10, describing=0.1)
    megabytes = f"{paths.model(VARIANT).stat().st_size / 1e6:.1f}"
    shown = vpr("table")[1].split("\n\n")[1].splitlines()
    assert [line.split() for line in shown[1:]] == [
        [VARIANT, "full", "768", "3,072", megabytes, "7.5"],
        [VARIANT, "w8_binary", "8", "1", megabytes, "7.5"],
    ]
    assert vpr("table", "--markdown")[1].endswith(f"| 8 | 1 | {megabytes} | 7.5 |\n")
    assert [run["ms_an_image"] for run in json.loads(vpr("table", "--json")[1])] == [
        pytest.approx(7.5)
    ] * 2


def test_times_of_a_run_that_made_other_descriptors_are_not_shown(made_here):
    note("db", described=30, describing=0.3)
    note("queries", described=0, describing=0.0)
    assert cost(read_notes(), SET, VARIANT, "full")["ms_an_image"] == 10
    os.utime(VECTORS["db"], (1e9, 1e9))
    assert "ms_an_image" not in cost(read_notes(), SET, VARIANT, "full")


def test_a_stage_tells_how_many_images_it_described(made_here):
    extract = importlib.import_module("stages.extract_db").main
    VECTORS["db"].unlink()
    told = extract(SET, VARIANT)
    assert told["described"] == 0 == told["describing"]  # they were known
    shutil.rmtree("artifacts/.cache")
    VECTORS["db"].unlink()
    told = extract(SET, VARIANT)
    assert told["described"] == len(read_index(paths.index(SET, "db"))) and told["describing"] > 0
