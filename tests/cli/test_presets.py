"""Presets can be used one after the other."""

from pathlib import Path

import pytest
import yaml

from vprlib.cli.use import compose, preset_names

TEXT = (Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", preset_names())
def test_the_city_preset_undoes_any_other_and_keeps_all_comments(name: str) -> None:
    assert compose(compose(TEXT, name, {}), "city", {}) == compose(TEXT, "city", {})


def test_the_corridor_is_described_in_float32_and_nothing_else_of_extraction_changes() -> None:
    before, after = (yaml.safe_load(compose(TEXT, name, {})) for name in ("city", "corridor"))
    assert after["extraction"] == before["extraction"] | {"precision": "float32"}
