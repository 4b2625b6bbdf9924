"""The `vpr` command: what it offers, how fast its help comes, and how it refuses unknown names."""

import re
import subprocess
import sys

import pytest
import toy

from vprlib.cli.main import COMMANDS, GROUPS

WANTED = (
    "use, find, table, compare, report, serve, predictions, tradeoffs, doctor, model convert,"
    " model export, index sweep, map push,"
    " map list, map switch, map drop, cache list, cache clear"
)
VERBS = r"\b(Print|Write|Measure|Compare|Set|Remove|Build|Merge|List|Convert|Export|Answer)s?\b"


def test_every_command_is_there_and_costs_is_not_listed(vpr):
    assert list(COMMANDS) == WANTED.split(", ")
    code, said = vpr("--help")
    listed = re.findall(r"^  (\w+)  ", said.split("Commands:")[1], re.MULTILINE)
    assert code == 0 and listed == [*(c for c in COMMANDS if " " not in c), *GROUPS]
    for group in GROUPS:
        listed = re.findall(r"^  (\w+)  ", vpr(group, "--help")[1].split("Commands:")[1], re.M)
        assert [f"{group} {name}" for name in listed] == [c for c in COMMANDS if c[:2] == group[:2]]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_says_what_it_prints_or_writes(vpr, name):
    text = COMMANDS[name][1]
    code, said = vpr(*name.split(), "--help")
    assert code == 0 and said.startswith(f"Usage: vpr {name} ")
    assert re.search(VERBS, said) and re.match(VERBS, text)
    assert len(text) <= 64  # not cut off in a terminal of 80 columns


@pytest.mark.parametrize("name", ["find", "predictions", "model export", "index sweep"])
def test_shared_options_mean_the_same(vpr, name):
    said = " ".join(vpr(*name.split(), "--help")[1].split())
    assert "--set <str> a data set in params.yaml; default: first of eval_on" in said
    assert "--variant <str> a network; default: trained, else the last of variants" in said
    assert "--code <str> how descriptors are stored; default: first of codes" in said
    assert "--out <path> the file or folder to write" in said


def loaded_by(*arguments):
    """The heavy modules that a command line has imported."""
    heavy = {"numpy", "h5py", "torch", "faiss", "matplotlib", "sklearn", "scipy", "onnxruntime"}
    program = f"""
import sys
from vprlib.cli.main import run
sys.argv = ["vpr", *{arguments!r}]
try:
    run()
except SystemExit:
    print("loaded", *sorted({heavy!r} & {{*sys.modules}}))
"""
    given = {"cwd": toy.ROOT, "capture_output": True, "text": True, "check": True}
    done = subprocess.run([sys.executable, "-c", program], **given)
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_help_loads_nothing_heavy_and_a_command_only_what_it_needs():
    assert loaded_by("--help") == set()
    assert loaded_by("index", "--help") == set()
    assert loaded_by("table", "--help") == set()
    assert loaded_by("model", "convert", "--help") == set()
    for name in ("find", "model export", "tradeoffs", "index sweep"):
        assert not {"torch", "matplotlib", "scipy"} & loaded_by(*name.split(), "--help")


@pytest.mark.parametrize(
    "arguments",
    [
        ("find", "x.jpg"),
        ("predictions", "--out", "x"),
        ("model", "export"),
        ("index", "sweep"),
        ("compare", "trained", "off_the_shelf"),
        ("tradeoffs",),
    ],
)
def test_an_unknown_set_variant_or_code_is_one_sentence(vpr, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    toy.write_params(tmp_path, toy.params())
    has_names = arguments[0] not in ("compare", "tradeoffs")
    for option in ("--set", "--variant", "--code") if has_names else ("--set",):
        code, said = vpr(*arguments, option, "nowhere")
        assert code == 1 and said.count("\n") == 1 and said.endswith(".\n"), said
        assert said.startswith("error: ") and ("nowhere" in said or "is missing: " in said)


def test_a_missing_argument_or_a_misspelt_command_is_explained(vpr):
    code, said = vpr("fnd")
    assert code == 2 and "No such command 'fnd'. Did you mean 'find'?" in said
    code, said = vpr("find")
    assert code == 2 and "Missing argument" in said
