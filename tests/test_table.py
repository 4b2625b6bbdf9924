"""The table of all variants, and what training gained."""

import json

import pytest

from vprlib.params import UserError
from vprlib.table import read_rows, table


def write(folder, name, **recalls):
    path = folder / "toy" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({f"recall@{n[1:]}": v for n, v in recalls.items()} | {"queries": 4}))


def test_the_gain_of_training_is_the_difference_in_points(tmp_path):
    write(tmp_path, "off_the_shelf-full", n1=0.25, n10=0.5)
    write(tmp_path, "trained-full", n1=0.75, n10=0.4)
    assert table(read_rows(tmp_path)) == (
        "set  variant             code  recall@1  recall@10\n"
        "toy  off_the_shelf       full      25.0       50.0\n"
        "toy  trained             full      75.0       40.0\n"
        "toy  gained by training  full     +50.0      -10.0"
    )


def test_one_variant_alone_has_no_gain(tmp_path):
    write(tmp_path, "trained-full", n1=0.75)
    assert "gained" not in table(read_rows(tmp_path))


def test_no_metrics_yet_is_said(tmp_path):
    with pytest.raises(UserError, match="holds no metrics of recall: run `dvc repro` first"):
        read_rows(tmp_path)
