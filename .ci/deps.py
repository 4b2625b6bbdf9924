"""Writes the modules that each stage imports into dvc.yaml: `python .ci/deps.py`."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from test_contract import everything_imported  # noqa: E402


def main() -> None:
    path = ROOT / "dvc.yaml"
    written, modules, indent = [], [], ""
    for line in path.read_text().splitlines():
        entry = line.strip().removeprefix("- ")
        if not entry.endswith(".py") or not line.strip().startswith("- "):
            written += [f"{indent}- {module}" for module in modules] + [line]
            modules = []
        elif entry.startswith("stages/"):
            indent = line[: len(line) - len(line.lstrip())]
            modules = [entry, *sorted(everything_imported(ROOT / entry))]
    path.write_text("\n".join(written) + "\n")


if __name__ == "__main__":
    main()
