"""A ready data set is one command away, and no comment of params.yaml is lost by it."""

import sys
from pathlib import Path

import pytest
import yaml

from vprlib.cli import use
from vprlib.pipeline import command
from vprlib.pipeline.params import UserError, read_params_file

TEXT = """\
# a head
train_on: city
# the sets
eval_on:
- city_test
- city_val
derived: {int8: trained}
codes: [full]
sets:
  city_test: {folder: city, file: x.mat}  # old
  city_val: {folder: city, file: y.mat}

# below
ready:
  pitts:
    train_on: pitts
    eval_on: [pitts_test]
    sets:
      pitts_test: {folder: pitts, file: datasets/pitts_test.mat}
  broken: 3
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(TEXT)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["use", *arguments])
    try:
        command.run(use.main)
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_the_switches_change_and_all_else_stays(here, monkeypatch, capsys):
    (here / "data/raw/pitts/datasets").mkdir(parents=True)
    (here / "data/raw/pitts/datasets/pitts_test.mat").touch()
    assert run(monkeypatch, "pitts") == 0
    text = (here / "params.yaml").read_text()
    assert text.startswith(
        "# a head\ntrain_on: pitts\n# the sets\neval_on:\n- pitts_test\nderived: {}\n"
    )
    assert "sets:\n  pitts_test: {folder: pitts, file: datasets/pitts_test.mat}\n\n# below" in text
    assert yaml.safe_load(text)["ready"] == yaml.safe_load(TEXT)["ready"]
    assert capsys.readouterr().out.endswith("Everything is in place: type `dvc repro`.\n")


def test_a_link_that_is_not_there_yet_is_named(here, monkeypatch, capsys):
    assert run(monkeypatch, "pitts") == 1
    said = capsys.readouterr()
    assert said.err.startswith("error: data/raw/pitts/datasets/pitts_test.mat is missing: link the")
    assert read_params_file(here / "params.yaml")["train_on"] == "pitts"  # set all the same


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("pits", r"ready has no 'pits'; did you mean 'pitts'\?"),
        ("broken", r"ready\.broken should be a mapping of switches with `sets`"),
    ],
)
def test_a_name_that_is_not_ready_is_a_sentence(here, monkeypatch, capsys, name, sentence):
    assert run(monkeypatch, name) == 1
    with pytest.raises(UserError, match=sentence):
        use.ready_switches(yaml.safe_load(TEXT), name)
    assert (here / "params.yaml").read_text() == TEXT


def test_a_switch_that_stands_twice_is_not_guessed_at(here):
    with pytest.raises(UserError, match="'train_on' should stand there once"):
        use.with_switches(TEXT + "train_on: again\n", {"train_on": "pitts"})
