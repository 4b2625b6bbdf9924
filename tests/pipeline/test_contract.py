"""Holds dvc.yaml against what each stage really imports and loads."""

import ast
import importlib
import re
from pathlib import Path

import pytest
import yaml

from vprlib.pipeline.params import StageParams

ROOT = Path(__file__).parents[2]
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
# in dvc.yaml's templates → the name that a stage's params class has for it
NAMES = {
    "${train_on}": "{recipe}",
    "${item.dataset}": "{dataset}",
    "${item.code}": "{code}",
    "${item}": "{dataset}",
    "${key}": {"make_city": "{part}", "parse_mat": "{dataset}", "make_variant": "{variant}"},
}
# listed by no stage: one changes no result, the other none that is there
UNLISTED = {"runtime", "extraction.unreadable"}


def block(stage: str) -> dict:
    return PIPELINE[stage].get("do", PIPELINE[stage])


def imported_files(path: Path) -> set[Path]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        files = (ROOT / f"{name.replace('.', '/')}.py" for name in names)
        packages = (ROOT / name.replace(".", "/") / "__init__.py" for name in names)
        found |= {f for f in (*files, *packages) if f.exists() and "vprlib" in f.parts}
    return found


def everything_imported(path: Path) -> set[Path]:
    """All files of vprlib that a stage loads, but for the empty ones of packages."""
    seen, waiting = set(), [path]
    while waiting:
        new = imported_files(waiting.pop()) - seen
        seen |= new
        waiting += new
    return {f for f in seen if f.name != "__init__.py"}


def package_of(path: Path) -> str:
    """Such as vprlib/model, also of vprlib/model/fast/winograd.py."""
    return "/".join(path.relative_to(ROOT).parts[:2])


@pytest.mark.parametrize("stage", PIPELINE)
def test_deps_name_the_script_and_every_package_it_imports(stage):
    listed = {dep for dep in block(stage)["deps"] if dep.startswith(("vprlib", "stages"))}
    script = ROOT / f"stages/{stage}.py"
    assert listed == {f"stages/{stage}.py"} | {package_of(f) for f in everything_imported(script)}


@pytest.mark.parametrize("stage", PIPELINE)
def test_params_are_the_sections_that_the_stage_loads(stage):
    listed = set()
    for place in block(stage).get("params", []):
        for template, name in NAMES.items():
            place = place.replace(template, name if isinstance(name, str) else name.get(stage, ""))
        listed.add(place)
    loaded = {name: f"{{{name}}}" for name in ("recipe", "dataset", "part", "code", "variant")}
    stage_name = f"stages.{stage}"
    module = importlib.import_module(stage_name)
    own = [c for c in vars(module).values() if isinstance(c, type) and c.__module__ == stage_name]
    found = {p for c in own if issubclass(c, StageParams) for p in c.places(**loaded).values()}
    assert found - UNLISTED == listed


@pytest.mark.parametrize("stage", PIPELINE)
def test_the_command_runs_the_module_of_the_stage_with_options_that_it_has(stage):
    command = block(stage)["cmd"]
    assert command.startswith(f"python -m stages.{stage} ")
    script = (ROOT / f"stages/{stage}.py").read_text()
    options = {o.replace("-", "_") for o in re.findall(r"--([a-z-]+)", command)}
    assert options == set(re.findall(r"(\w+): (?:str|Path) = typer\.Option", script))


@pytest.mark.parametrize("stage", PIPELINE)
def test_every_path_in_the_command_is_a_dependency_or_an_output(stage):
    free = {"data/raw", "data/raw/weights", "artifacts/.scratch", "artifacts/tensorboard"}
    free |= {"artifacts/.store"}
    free |= {"data/raw/${item.folder}"}  # folders of images: their index is the dependency
    free |= {"artifacts/reports"}  # of what is missing, when a stage fails
    listed = block(stage)
    known = {p for p in listed["deps"] if isinstance(p, str)}
    for kind in ("outs", "metrics", "plots"):
        for entry in listed.get(kind, []):
            known |= {entry} if isinstance(entry, str) else set(entry)
    used = set(re.findall(r"--[a-z-]+ ((?:data|artifacts|metrics)/\S+)", listed["cmd"]))
    assert used - free <= known
    assert {p for p in known if not p.startswith(("stages", "vprlib"))} - used <= {
        "data/index/switches.txt"
    }


def test_stages_stand_in_the_order_in_which_data_flows():
    expected = (
        "check_switches make_city parse_mat fingerprint sample_features audit kmeans_centroids"
        " init_model train make_variant extract_train fit_whitening fit_code"
        " extract_db extract_queries encode build_index recall failures calibrate confidence"
    )
    assert list(PIPELINE) == expected.split()


def test_every_stage_script_is_in_the_pipeline():
    scripts = {path.stem for path in (ROOT / "stages").glob("*.py")} - {"__init__"}
    assert scripts == set(PIPELINE)


READS_REVISIONS = ROOT / "vprlib/cli/comparison/runs.py"


def test_the_library_never_imports_a_stage_or_dvc():
    """But for the one module that reads other revisions, which no stage imports."""
    for path in sorted((ROOT / "vprlib").rglob("*.py")):
        if path == READS_REVISIONS:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [n for n in names if n.split(".")[0] in ("stages", "dvc")], path


@pytest.mark.parametrize("stage", PIPELINE)
def test_no_stage_reads_other_revisions(stage):
    assert READS_REVISIONS not in everything_imported(ROOT / f"stages/{stage}.py")


def test_what_says_how_far_to_trust_a_number_describes_no_image():
    """Other draws of `compare` run nothing at all."""
    expected = {
        "interval": {"recall", "failures", "confidence"},
        "compare": set(),
        "audit": {"audit"},
        "failures": {"failures"},
        "confidence": {"calibrate"},  # and what reads its thresholds
    }
    reading = {
        section: {s for s in PIPELINE if section in block(s).get("params", [])}
        for section in expected
    }
    assert reading == expected


# what a package may import besides itself and `pipeline`; cli may import anything
ROOMS = {
    "pipeline": "",
    "images": "",
    "descriptors": "",
    "places": "images",
    "model": "images",
    "search": "descriptors",
    "formats": "images places",
    "extract": "images model",
    "evaluate": "images places descriptors search",
    "city": "formats",
    "interop": "formats images model",
    "train": "images places model interop",
    "compress": "images model train",
}


def test_packages_import_only_what_lies_below_them():
    for path in sorted((ROOT / "vprlib").rglob("*.py")):
        room = path.relative_to(ROOT / "vprlib").parts[0]
        if room in ("cli", "__init__.py"):
            continue
        below = {room, "pipeline", *ROOMS[room].split()}
        used = {f.relative_to(ROOT / "vprlib").parts[0] for f in imported_files(path)}
        assert used - {"__init__.py"} <= below, path


def test_every_package_is_planned_and_none_is_crowded():
    packages = {p.name for p in (ROOT / "vprlib").iterdir() if (p / "__init__.py").exists()}
    assert packages == {*ROOMS, "cli"}
    for package in packages:
        assert len(list((ROOT / "vprlib" / package).glob("*.py"))) <= 18, package


def test_imports_have_no_cycle():
    modules = sorted((ROOT / "vprlib").rglob("*.py"))
    done: set[Path] = set()

    def visit(path: Path, above: tuple[Path, ...]) -> None:
        assert path not in above, " → ".join(p.stem for p in (*above, path))
        if path not in done:
            for below in imported_files(path):
                if below.name != "__init__.py":
                    visit(below, (*above, path))
            done.add(path)

    for path in modules:
        visit(path, ())


def test_only_the_artifacts_module_writes_files():
    writing = re.compile(r"\.write_(?:text|bytes)\(|savemat\(|\.open\(\s*[\"'][wax]|, [\"']w[\"']")
    for path in (*(ROOT / "vprlib").rglob("*.py"), *(ROOT / "stages").glob("*.py")):
        if path.name == "artifacts.py":
            continue
        lines = [line for line in path.read_text().splitlines() if writing.search(line)]
        in_memory = "savemat(buffer"
        assert not [line for line in lines if in_memory not in line], path


# extract_train loads it only where a code in use is fitted
WITHOUT_TORCH = (
    "check_switches make_city parse_mat fingerprint audit kmeans_centroids extract_train"
    " fit_whitening fit_code encode build_index recall failures calibrate confidence"
)


def test_stages_without_a_network_do_not_load_torch():
    import subprocess
    import sys

    code = "; ".join(
        f"import stages.{stage}; assert 'torch' not in sys.modules, '{stage}'"
        for stage in WITHOUT_TORCH.split()
    )
    done = subprocess.run([sys.executable, "-c", f"import sys; {code}"], cwd=ROOT)
    assert done.returncode == 0
