"""The README says what is: its commands, its names, its numbers."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from vprlib.cli.table import read_rows, table

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def line_after(marker):
    block = README.split(f"<!-- {marker} -->\n```sh\n")[1].split("\n```")[0]
    assert "\n" not in block
    return block


def test_each_of_the_two_commands_is_one_line_that_needs_only_python_and_git():
    for marker in ("run", "tests"):
        assert line_after(marker).startswith("python3 -m venv .venv && . .venv/bin/activate && pip")


def test_ci_finds_exactly_these_two_lines():
    script = (ROOT / ".ci/run").read_text()
    function = re.search(r"line_after\(\) \{.*?\n\}", script, re.DOTALL)[0]
    for marker in ("run", "tests"):
        said = subprocess.run(
            ["bash", "-c", f"{function}\nline_after {marker}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert said.stdout.strip() == line_after(marker)


def git(*arguments):
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True).stdout


@pytest.mark.skipif(not git("log", "-1"), reason="needs the history of the project")
def test_the_table_is_the_one_committed_with_the_readme(tmp_path):
    """Not the workspace's: other processors and other parameters give other figures."""
    commit = git("log", "-1", "--format=%H", "--", "README.md").strip()
    for name in git("ls-tree", "-r", "--name-only", commit, "metrics/recall").split():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(git("show", f"{commit}:{name}"))
    committed = git("show", f"{commit}:README.md")
    assert table(read_rows(tmp_path / "metrics/recall")) in committed


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_every_link_leads_to_a_file(path):
    assert (ROOT / path).exists()


def test_every_parameter_named_in_the_table_of_edits_exists():
    tree = yaml.safe_load((ROOT / "params.yaml").read_text())
    rows = README.split("| you change in `params.yaml` | what runs again |")[1].split("\n\n")[0]
    places = set(re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)`", rows)) - {"params.yaml"}
    assert len(places) >= 4
    for place in places:
        node = tree
        for key in place.split("."):
            assert key in node, place
            node = node[key]


def test_every_preset_is_listed():
    listed = README.split("$ vpr use --list\n")[1].split("```")[0].splitlines()
    names = [line.split()[0] for line in listed]
    assert names == sorted(path.stem for path in (ROOT / "presets").glob("*.yaml"))
