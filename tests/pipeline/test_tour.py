"""The tour's cells run from top to bottom, on a tiny city."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import tiny

CELLS = [
    "".join(cell["source"])
    for cell in json.loads((tiny.ROOT / "docs/tour.ipynb").read_text(encoding="utf-8"))["cells"]
    if cell["cell_type"] == "code"
]
SMALLER = {
    **{"width: 160": "width: 80", "height: 120": "height: 64", "headings: 8": "headings: 4"},
    **{"places: 70": "places: 10", "places: 30": "places: 8", "places: 110": "places: 10"},
    **{"queries: 500": "queries: 16", "queries: 250": "queries: 16", "queries: 440": "queries: 24"},
    **{"images: 500": "images: 16", "clusters: 64": "clusters: 24", "epochs: 6": "epochs: 1"},
    **{"device: auto": "device: cpu", "threads: null": "threads: 1"},
}


def as_python(cell: str) -> str:
    """Lines that begin with ! become calls; what installs is left out."""
    lines = []
    for line in cell.splitlines():
        command = line.lstrip()
        indent = line[: len(line) - len(command)]
        if command.startswith("%pip"):
            lines.append(f"{indent}pass")
        elif command.startswith("!"):
            lines.append(f"{indent}shell({command[1:]!r})")
        else:
            lines.append(line)
    return "\n".join(lines)


@pytest.mark.slow
def test_every_cell_of_the_tour_runs(tmp_path: Path, monkeypatch, capsys) -> None:
    project = tiny.Project(tmp_path / "tour")
    text = (tiny.ROOT / "params.yaml").read_text(encoding="utf-8")
    for old, new in SMALLER.items():
        assert old in text, old
        text = text.replace(old, new)
    (project.folder / "params.yaml").write_text(text, encoding="utf-8")
    shutil.copytree(tiny.ROOT / "presets", project.folder / "presets")
    preset = project.folder / "presets/photos.yaml"
    preset.write_text(preset.read_text().replace("resize: 480", "resize: 64"))
    project.git("add", "-A")
    project.git("commit", "-qm", "as cloned")
    monkeypatch.chdir(project.folder)
    display = ModuleType("IPython.display")
    shown = []
    display.IFrame = lambda *arguments: shown.append(arguments)
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    monkeypatch.setenv("PATH", path)
    said = []

    def shell(command: str) -> None:
        done = subprocess.run(command, shell=True, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        said.append(done.stdout)

    names = {"shell": shell}
    for cell in CELLS:
        exec(compile(as_python(cell), "cell", "exec"), names)
    whole = "".join(said)
    assert "gained by training" in whole and "map: https://www.openstreetmap.org/" in whole
    assert re.search(r"params\.yaml +kmeans\.clusters +24 +16", whole)
    assert capsys.readouterr().out.startswith("63 photographs\n")
    (frame,) = shown
    assert frame[0].startswith("https://www.openstreetmap.org/export/embed.html?bbox=13.")
