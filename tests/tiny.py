"""A copy of the project with a city so small that the whole pipeline takes a minute."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
PARTS = {
    "train": {"places": 14, "queries": 32},
    "val": {"places": 24, "queries": 32},
    "test": {"places": 12, "queries": 16},
}
LIGHT = {"day": 0.5, "dusk": 0.3, "night": 0.2}


def params() -> dict:
    """The project's params.yaml with a tiny city and little work."""
    tree = yaml.safe_load((ROOT / "params.yaml").read_text())
    tree["city"]["scene"].update(width=80, height=64, headings=4)
    tree["city"]["parts"] = {k: {**v, "query_light": LIGHT} for k, v in PARTS.items()}
    # by night the start is so poor that some epoch beats it
    tree["city"]["parts"]["val"]["query_light"] = {"day": 0.0, "dusk": 0.0, "night": 1.0}
    tree["sample"].update(images=16, positions=4)
    tree["kmeans"].update(clusters=4, iterations=10)
    tree["train"].update(epochs=2, refresh_queries=8, negatives=3, learning_rate=0.001)
    tree["runtime"].update(device="cpu", threads=1)  # several tests run at a time
    return tree


def linked(source: str, target: str) -> None:
    """The same file once more, or a copy on another disk; DVC never writes into either."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


class Project:
    """A clone in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name in ("vprlib", "stages", ".dvc/config", "dvc.yaml", ".dvcignore", ".gitignore"):
            source, target = ROOT / name, folder / name
            target.parent.mkdir(exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        self.write(params())
        subprocess.run(["git", "init", "-q", folder], check=True)

    def borrow_cache(self) -> None:
        """What this checkout has computed before need not be computed again."""
        kept = ROOT / ".dvc/cache"
        if kept.exists():
            shutil.copytree(kept, self.folder / ".dvc/cache", copy_function=linked)

    def write(self, tree: dict) -> None:
        (self.folder / "params.yaml").write_text(yaml.safe_dump(tree))

    def start(self, *arguments: str) -> subprocess.Popen:
        return subprocess.Popen(
            ["dvc", *arguments],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def dvc(self, *arguments: str) -> str:
        process = self.start(*arguments)
        said, _ = process.communicate()
        assert process.returncode == 0, said
        return said

    def vpr(self, *arguments: str) -> str:
        """What the command printed."""
        command = [sys.executable, "-m", "vprlib.cli", *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def repro(self, *targets: str) -> set[str]:
        """Runs what is stale; gives the stages that really ran."""
        return set(re.findall(r"Running stage '(.+)'", self.dvc("repro", *targets)))

    def git(self, *arguments: str) -> None:
        who = ("-c", "user.name=tiny", "-c", "user.email=tiny@example.org")
        subprocess.run(["git", "-C", self.folder, *who, *arguments], check=True)

    @property
    def lock(self) -> str:
        return (self.folder / "dvc.lock").read_text()


def existing(folder: Path) -> Project:
    """A project that is there already."""
    project = object.__new__(Project)
    project.folder = folder
    return project
