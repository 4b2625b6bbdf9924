"""One evaluated run, of the workspace or of another revision, and whether two are comparable."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, cast

import numpy as np

from vprlib.cli.choice import Choice, best_variant
from vprlib.evaluate.intervals import query_locations
from vprlib.evaluate.predictions import Judgement, read_judgement
from vprlib.images.index import ImageIndex
from vprlib.pipeline import paths
from vprlib.pipeline.json_files import read_json
from vprlib.pipeline.params import PARAMS_PATH, JsonObject, UserError, look_up, read_params_file
from vprlib.pipeline.paths import existing
from vprlib.places.truth import Listed, Truth

if TYPE_CHECKING:
    from dvc.api import DVCFileSystem

WORKSPACE = "workspace"
Files = Callable[[Path], Path]  # a path in the project → where that file of a revision is
NO_RESULT = ("runtime", "interval", "compare")  # sections that change no prediction


@contextmanager
def files_of(revision: str | None) -> Iterator[Files]:
    """Of a commit, a branch or an experiment; None stands for the workspace.

    Files of other revisions are copied out of DVC's cache.
    """
    if revision is None:
        yield existing
        return
    from dvc_data.index import DataIndexDirError  # of a folder that the cache lacks

    with TemporaryDirectory() as folder, closing(_opened(revision)) as source:

        def copied(name: Path) -> Path:
            target = Path(folder) / name
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                try:
                    source.get_file(f"/{name}", str(target))
                except (FileNotFoundError, DataIndexDirError):
                    raise UserError(
                        f"{revision} has no {name}: it was not made there, or DVC's cache and"
                        f" remote lack it; `dvc exp apply {revision}` or `git checkout` and then"
                        " `dvc repro` make it."
                    ) from None
            return target

        yield copied


def _opened(revision: str) -> "DVCFileSystem":
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc.scm import SCMError  # also of a revision that git does not know

    try:
        source = DVCFileSystem(rev=revision)
        source.ls("/")  # opened only when first used
    except (DvcException, SCMError) as error:
        raise UserError(
            f"{revision} is not a git revision, a DVC experiment or a variant of the workspace"
            f" ({' '.join(str(error).split())}): `git log` and `dvc exp show` list the revisions,"
            " and `variants` in params.yaml lists the variants."
        ) from None
    return source


@dataclass(frozen=True)
class RunSpec:
    """The run that is meant; None stands for the default of its revision."""

    revision: str | None  # None: the workspace
    variant: str | None
    code: str | None


@dataclass(frozen=True)
class Run:
    name: str
    rows: np.ndarray  # [Q, K] of the database, nearest first
    right: np.ndarray  # [Q, K]
    counted: np.ndarray  # [Q] whether the query is in the denominator
    queries: ImageIndex
    database: ImageIndex
    truth: Truth
    protocol: str
    radius_m: float | None
    denominator: str
    params: Mapping[str, object]

    def locations(self, distance_m: float) -> np.ndarray:
        return query_locations(self.queries.positions, self.truth, distance_m)

    def found(self, n: int) -> np.ndarray:
        """Whether one of the n nearest is right [Q]."""
        return np.any(self.right[:, :n], axis=1)


def parse_run(text: str, variants: Sequence[str]) -> RunSpec:
    """Understands `trained`, `trained/w512`, `HEAD~1` and `HEAD~1:trained/full`.

    What stands before a colon is a revision or an experiment, and so is a single word that is not
    one of the workspace's `variants`.
    """
    revision, colon, rest = text.rpartition(":")
    if not colon and rest.partition("/")[0] not in variants:
        revision, rest = rest, ""
    variant, _, code = rest.partition("/")
    named = None if revision in ("", WORKSPACE) else revision
    return RunSpec(named, variant or None, code or None)


def read_run(spec: RunSpec, dataset: str) -> Run:
    """A run's predictions for a set, with the queries and the ground truth of its revision."""
    with files_of(spec.revision) as files:
        params = read_params_file(files(PARAMS_PATH))
        variant = spec.variant or best_variant(cast(list[str], look_up(params, "variants")))
        code = spec.code or cast(list[str], look_up(params, "codes"))[0]
        name = f"{variant}/{code}"
        if spec.revision is not None:
            name = f"{spec.revision}:{name}"
        return _read(files, name, Choice(dataset, variant, code), params)


def _read(files: Files, name: str, choice: Choice, params: Mapping[str, object]) -> Run:
    made = read_made(files, choice)
    metrics = read_json(files(paths.result_metrics("recall", *choice)), JsonObject)
    return run_of(name, made, metrics, params)


def read_made(files: Files, choice: Choice) -> Judgement:
    """The predictions of a revision, with both sides of its set and its ground truth."""
    sides = [files(paths.index(choice.dataset, side)) for side in ("db", "queries")]
    return read_judgement(files(paths.predictions(*choice)), sides[0].parent)


def run_of(
    name: str, made: Judgement, metrics: Mapping[str, object], params: Mapping[str, object]
) -> Run:
    """A run from its predictions and the metrics of `recall`."""
    f, truth, denominator = made.found, made.truth, str(metrics.get("denominator", "all"))
    counts = truth.counts()
    counted = counts > 0 if denominator == "answerable" else np.ones(len(counts), bool)
    found = (f.rows, f.right, counted, f.queries, f.database, truth)
    return Run(name, *found, made.protocol, truth.radius_m, denominator, params)


def check_comparable(a: Run, b: Run) -> None:
    """Refuses runs that differ in their queries or rules, and says what differs."""
    for reason in (_different_rules(a, b), _different_queries(a, b)):
        if reason:
            raise UserError(f"{a.name} and {b.name} cannot be compared query by query: {reason}.")


def _different_rules(a: Run, b: Run) -> str | None:
    rules = {"protocol": "protocol", "radius_m": "radius", "denominator": "denominator"}
    for field, name in rules.items():
        one, other = getattr(a, field), getattr(b, field)
        if one != other:
            return f"the {name} is {one} in the one and {other} in the other"
    return None


def _different_queries(a: Run, b: Run) -> str | None:
    ours, theirs = set(a.queries.names), set(b.queries.names)
    if ours != theirs:
        only = sorted(ours ^ theirs)
        return (
            f"the queries differ ({len(ours)} and {len(theirs)}, {len(ours & theirs)} in both;"
            f" {only[0]} is in one alone)"
        )
    if a.queries.names != b.queries.names:
        return "the same queries stand in another order"
    same = np.isclose(a.queries.positions, b.queries.positions, rtol=0, atol=0, equal_nan=True)
    for differs, what in (
        (~same.all(axis=1), "other positions"),
        (a.queries.digests != b.queries.digests, "other pixels under the same name"),
    ):
        if differs.any():
            first = a.queries.names[int(np.argmax(differs))]
            return f"{int(differs.sum())} queries have {what}, {first} first"
    if isinstance(a.truth, Listed) and not _same_lists(a, b):
        return "other images are listed as right"
    if not np.array_equal(a.counted, b.counted):
        return "other queries have a right image, and only those count"
    return None


def _same_lists(a: Run, b: Run) -> bool:
    rows = ((run.database.names, run.truth.positives().rows.tolist()) for run in (a, b))
    ours, theirs = ([names[row] for row in found] for names, found in rows)
    return ours == theirs and np.array_equal(a.truth.counts(), b.truth.counts())


def database_difference(a: Run, b: Run) -> str | None:
    """How the databases differ, or None."""
    if a.database.names != b.database.names:
        return f"{len(a.database)} and {len(b.database)} images"
    if not np.array_equal(a.database.digests, b.database.digests):
        return "other pixels under the same names"
    return None


def different_params(a: Run, b: Run) -> dict[str, tuple[object, object]]:
    """Dotted place → its value in each run, where these differ and may change predictions."""
    ours, theirs = (
        dict(leaves({k: v for k, v in run.params.items() if k not in NO_RESULT}, ""))
        for run in (a, b)
    )
    places = [*ours, *(place for place in theirs if place not in ours)]
    pairs = {place: (ours.get(place), theirs.get(place)) for place in places}
    return {place: pair for place, pair in pairs.items() if pair[0] != pair[1]}


def leaves(node: object, place: str) -> list[tuple[str, object]]:
    """The dotted place of each value below a node of params.yaml."""
    if not isinstance(node, Mapping):
        return [(place, node)]
    return [
        leaf
        for key, value in node.items()
        for leaf in leaves(value, f"{place}.{key}" if place else str(key))
    ]
