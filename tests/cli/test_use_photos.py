"""`vpr use photos FOLDER`: links folders, and says in a sentence what cannot be linked."""

from pathlib import Path

import pytest
import toy
import yaml
from photographs import NOON, walk

from vprlib.pipeline import paths

TARGET = paths.RAW / "photos"


@pytest.fixture
def streets(project: Path) -> Path:
    """A folder of photographs beside the project."""
    folder = project.parent / f"{project.name} streets 50%"
    walk(folder, 2, NOON)
    return folder


@pytest.fixture
def refused(project: Path, vpr):
    def run(*arguments: object) -> str:
        before = Path("params.yaml").read_text()
        said = toy.refusal(*vpr("use", *arguments))
        assert Path("params.yaml").read_text() == before and not TARGET.exists()
        return said

    return run


def test_folders_are_linked_and_nothing_else_is_needed(streets: Path, vpr) -> None:
    code, said = vpr("use", "photos", streets)
    assert code == 0 and said.endswith("All files are there: type `dvc repro`.\n")
    assert said.startswith(f"data/raw/photos/{streets.name} → {streets.resolve()}\n")
    tree = yaml.safe_load(Path("params.yaml").read_text())
    assert tree["eval_on"] == ["photos"] == [*tree["photos"]] and tree["train_on"] == []
    assert (TARGET / streets.name / "0001.jpg").exists()


def test_several_folders_and_queries_get_names_of_their_own(streets: Path, vpr) -> None:
    other = streets.parent / "elsewhere" / streets.name
    asked = streets.parent / "asked"
    walk(other, 1, NOON)
    walk(asked, 1, NOON)
    assert vpr("use", "photos", streets, other, "--queries", asked)[0] == 0
    links = {path.name: path.resolve() for path in TARGET.iterdir()}
    assert links == {
        streets.name: streets.resolve(),
        f"{streets.name}_2": other.resolve(),
        "queries": asked.resolve(),
    }
    assert vpr("use", "photos", other, "--force")[0] == 0  # in place of the earlier links
    assert [path.resolve() for path in TARGET.iterdir()] == [other.resolve()]
    assert vpr("use", "photos", "--force")[0] == 0  # the same folders again
    assert len(list(TARGET.iterdir())) == 1


def test_going_back_to_the_city_lists_no_photographs(streets: Path, vpr) -> None:
    before = Path("params.yaml").read_text()
    assert vpr("use", "photos", streets)[0] == 0
    assert vpr("use", "city")[0] == 0
    assert Path("params.yaml").read_text() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["photos"], "name a folder of photographs: `vpr use photos FOLDER`"),
        (["photos", "gone"], "gone is missing: name a folder of photographs"),
        (["photos", "params.yaml"], "params.yaml is no folder: name a folder of photographs"),
        (["photos", "."], "lie in one another: name another folder"),
        (["city", "presets"], "folders go with `vpr use photos FOLDER …`, not with 'city'"),
        (["photos", "--queries", "presets"], "name a folder of photographs: `vpr use photos"),
    ],
)
def test_what_cannot_be_linked_is_a_sentence(refused, arguments, said) -> None:
    assert said in refused(*arguments)
