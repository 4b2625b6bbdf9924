"""The benchmark of ways to train runs all that recall needs, and nothing before its time."""

import yaml

from benchmarks.agreement import PREDICTIONS, ROOT, _commands, made_at


def test_commands_make_what_later_ones_read_and_end_at_recall() -> None:
    stages = yaml.load((ROOT / "dvc.lock").read_text(), yaml.CSafeLoader)["stages"]
    every = {out["path"] for stage in stages.values() for out in stage.get("outs", ())}
    by_command = {stage["cmd"]: stage for stage in stages.values()}
    made: set[str] = set()
    for command in _commands():
        stage = by_command[command]
        read = {out for dep in stage.get("deps", ()) for out in made_at(dep["path"], every)}
        assert read <= made
        made |= {out["path"] for out in stage.get("outs", ())}
    assert PREDICTIONS in made
    assert not any("/off_the_shelf/" in path for path in made)  # the network it starts from is
