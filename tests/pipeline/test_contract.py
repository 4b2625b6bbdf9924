"""Holds dvc.yaml against what each stage really imports and loads."""

import ast
import importlib
import inspect
import itertools
import re
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from vprlib.pipeline import paths
from vprlib.pipeline.params import StageParams

ROOT = Path(__file__).parents[2]
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
# a template of dvc.yaml → the name that a stage's params class has for it
NAMES = {
    "${item.dataset}": "{dataset}",
    "${item.training}": "{training}",
    "${train_on[0]}": "{training}",
    "${validate_on}": "{validation}",
    "${item.code}": "{code}",
    "${item}": "{training}",
    "${key}": {
        "make_city": "{part}",
        "list_photos": "{dataset}",
        "parse_mat": "{dataset}",
        "load_model": "{name}",
        "make_variant": "{variant}",
    },
}
# read, but listed by no stage: they change no result that is there
UNLISTED = {"runtime", "extraction.unreadable", "datasets"}


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


def stage_module(stage: str) -> ModuleType:
    return importlib.import_module(f"stages.{stage}")


@pytest.mark.parametrize("stage", PIPELINE)
def test_params_are_the_sections_that_the_stage_loads(stage):
    listed = set()
    for place in block(stage).get("params", []):
        for template, name in NAMES.items():
            place = place.replace(template, name if isinstance(name, str) else name.get(stage, ""))
        listed.add(place)
    words = ("dataset", "training", "validation", "part", "code", "variant", "name")
    classes = [c for c in vars(stage_module(stage)).values() if isinstance(c, type)]
    loaded = [c for c in classes if issubclass(c, StageParams) and c is not StageParams]
    found = {p for c in loaded for p in c.places(**{w: f"{{{w}}}" for w in words}).values()}
    assert found - UNLISTED == listed


@pytest.mark.parametrize("stage", PIPELINE)
def test_the_command_names_the_stage_and_as_many_names_as_it_takes(stage):
    python, flag, module, *names = block(stage)["cmd"].split()
    assert [python, flag, module] == ["python", "-m", f"stages.{stage}"]
    assert len(names) == len(inspect.signature(stage_module(stage).main).parameters)


def paths_in(stage: str) -> set[str]:
    """What a stage depends on and writes, but for code."""
    listed = block(stage)
    entries = [e for kind in ("deps", "outs", "metrics", "plots") for e in listed.get(kind, [])]
    names = {name for e in entries for name in ([e] if isinstance(e, str) else e)}
    return {name for name in names if not name.startswith(("stages/", "vprlib/"))}


# which values of an argument make another path
CHOICES = {
    "side": ("db", "queries"),
    "kind": ("csv", "geojson"),
    "metrics.kind": ("sets", "audit", "variants", "photos"),
    "result_metrics.kind": ("recall", "failures", "confidence", "rerank"),
    "what": ("", "-plan", "-worst", "-precision"),
}


def known_paths() -> set[str]:
    """All that vprlib/pipeline/paths.py can name, with * for the names of sets and the like."""
    found = {str(value) for value in vars(paths).values() if isinstance(value, Path)}
    for name, function in inspect.getmembers(paths, inspect.isfunction):
        if function.__module__ == paths.__name__ and name != "existing":
            arguments = [
                CHOICES.get(f"{name}.{a}", CHOICES.get(a, ("*",)))
                for a in inspect.signature(function).parameters
            ]
            found |= {str(function(*given)) for given in itertools.product(*arguments)}
    return found


def test_every_path_is_one_of_the_module_of_paths():
    wanted = {re.sub(r"\$\{.*?\}", "*", p) for stage in PIPELINE for p in paths_in(stage)}
    derived = {"metrics/recall/*/*-*.csv"}  # beside the metrics of the same name
    raw = {path for path in wanted if path.startswith("data/raw/")}
    known = known_paths()
    unknown = {w for w in wanted - raw - derived if not any(fnmatch(w, k) for k in known)}
    assert not unknown
    untracked = {"data/raw", "data/raw/weights", "artifacts/.scratch", "artifacts/.cache"}
    untracked |= {"artifacts/.times"}
    untracked |= {"artifacts/tensorboard", "artifacts/reports", "artifacts/report", "params.yaml"}
    inside = {"artifacts/descriptors/*/*/*/db.h5", "artifacts/descriptors/*/*/*/queries.h5"}
    inside |= {"artifacts/descriptors/*/*/*/index"}  # of a folder that encode writes
    by_commands = {"artifacts/onnx/*-*.onnx"}
    left = known - untracked - inside - by_commands
    assert not {k for k in left if not any(fnmatch(w, k) for w in wanted)}


def test_dvc_yaml_and_params_yaml_can_be_read_in_one_sitting():
    assert len((ROOT / "dvc.yaml").read_text().splitlines()) <= 400
    assert len((ROOT / "params.yaml").read_text().splitlines()) <= 150


def test_stages_stand_in_the_order_in_which_data_flows():
    expected = (
        "check_switches make_city list_photos parse_mat audit sample_features kmeans_centroids"
        " init_model load_model train make_variant extract_db extract_queries extract_train"
        " fit_whitening fit_code encode search recall calibrate diagnose keypoints rerank"
        " second_look"
    )
    assert list(PIPELINE) == expected.split()


def test_every_stage_script_is_in_the_pipeline():
    scripts = {path.stem for path in (ROOT / "stages").glob("*.py")} - {"__init__"}
    assert scripts == set(PIPELINE)


READS_REVISIONS = ROOT / "vprlib/cli/comparison/runs.py"


def test_the_library_never_imports_a_stage_or_dvc():
    """But for what reads other revisions and what mends DVC's files, which no stage imports."""
    for path in sorted((ROOT / "vprlib").rglob("*.py")):
        if path in (READS_REVISIONS, ROOT / "vprlib/cli/doctor.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [n for n in names if n.split(".")[0] in ("stages", "dvc")], path


@pytest.mark.parametrize("stage", PIPELINE)
def test_no_stage_reads_other_revisions(stage):
    assert READS_REVISIONS not in everything_imported(ROOT / f"stages/{stage}.py")


def test_evaluation_settings_describe_no_image():
    expected = {
        "interval": {"recall", "diagnose", "second_look"},
        "compare": set(),
        "audit": {"audit"},
        "failures": {"diagnose"},
        "confidence": {"calibrate", "second_look"},  # and what reads its thresholds
        "recall": {"recall", "second_look"},
        "search": {"search"},
    }
    reading = {
        section: {s for s in PIPELINE if section in block(s).get("params", [])}
        for section in expected
    }
    assert reading == expected


COMPUTING = [
    "train",
    "make_variant",
    "sample_features",
    "extract_db",
    "extract_queries",
    "extract_train",
]


@pytest.mark.parametrize("stage", COMPUTING)
def test_no_edit_of_evaluation_trains_or_describes_again(stage):
    """Only make_variant imports compress."""
    away = {"evaluate", "search", "descriptors", "compress", "city", "cli", "formats"}
    away -= {"compress"} if stage == "make_variant" else set()
    listed = {Path(dep).name for dep in block(stage)["deps"] if dep.startswith("vprlib/")}
    assert not listed & away


# what a package may import besides itself and `pipeline`; cli may import anything
ROOMS = {
    "pipeline": "",
    "images": "",
    "descriptors": "",
    "places": "images",
    "model": "images",
    "search": "descriptors",
    "stores": "descriptors search",
    "formats": "images places",
    "extract": "images model",
    "evaluate": "images places descriptors search",
    "city": "formats",
    "interop": "formats images model",
    "verify": "images evaluate search",
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
    lines = {p: p.read_text().count("\n") for p in (ROOT / "vprlib").rglob("*.py")}
    assert {path.name: count for path, count in lines.items() if count > 300} == {}


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


WITHOUT_TORCH = (
    "check_switches make_city list_photos parse_mat audit kmeans_centroids"
    " fit_whitening fit_code encode search recall calibrate diagnose"
    " keypoints rerank second_look"
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
