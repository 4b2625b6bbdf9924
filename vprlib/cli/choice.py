"""The set, variant and code that a command works on, and their files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np

from vprlib.cli.options import InUse
from vprlib.cli.use import SWITCHES, Kind, preset_with
from vprlib.descriptors.codes import Code, read_arrays, read_code
from vprlib.descriptors.files import failed_rows, network_of, opened
from vprlib.descriptors.matrix import Arrays
from vprlib.descriptors.rows import Rows
from vprlib.images.decode import ImageSettings
from vprlib.model.settings import Precision
from vprlib.pipeline import cache, paths
from vprlib.pipeline.inside import Name
from vprlib.pipeline.params import PARAMS_PATH, At, StageParams, UserError, nearest
from vprlib.pipeline.paths import Side, existing
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.pipeline.stored import reading
from vprlib.pipeline.switches import FULL, OWN


class SetParams(StageParams):
    """How the images of one set are read."""

    images: Annotated[ImageSettings, At("datasets.{dataset}.images")]
    folder: Annotated[Name, At("datasets.{dataset}.folder")]
    runtime: Annotated[RuntimeSettings, At("runtime")]

    @property
    def image_dir(self) -> Path:
        return paths.RAW / self.folder


class Choice(NamedTuple):
    """A set, a variant and a code; a file that a command cannot do without is checked to exist."""

    dataset: str
    variant: str
    code: str

    @property
    def root(self) -> Path:
        """The folder that all paths are relative to."""
        return Path()

    @property
    def index_path(self) -> Path:
        return existing(self.root / paths.index(self.dataset, "db"))

    @property
    def model_path(self) -> Path:
        return existing(self.root / paths.model(self.variant))

    @property
    def coder_path(self) -> Path | None:
        """The code `full` needs none."""
        if self.code == FULL:
            return None
        return existing(self.root / paths.coder(self.variant, self.code))

    @property
    def search_index_path(self) -> Path:
        """Of codes that have an index."""
        return self.root / paths.search_index(*self)

    @property
    def calibration_path(self) -> Path:
        """May not exist."""
        return self.root / paths.calibration(self.variant, self.code)

    def read_code(self, whitens: bool = True) -> Code:
        path = self.coder_path
        return Code() if path is None else read_code(path, whitens)

    def whitening(self) -> Arrays:
        """The arrays that the code whitens by; none for a code that does not."""
        path = self.coder_path
        return {} if path is None else read_arrays(path)

    @property
    def onnx_path(self) -> Path:
        """The path of the export, which may not exist."""
        return self.root / paths.onnx(self.variant, self.code)

    @property
    def title(self) -> str:
        return ", ".join(self)

    @property
    def descriptors_path(self) -> Path:
        """The database descriptors, as the code stores them."""
        return existing(self.root / paths.descriptors(*self, "db"))

    @contextmanager
    def descriptors(self, side: Side, count: int) -> Iterator[Rows]:
        """The descriptors of one side as the code stores them; there must be `count`."""
        with opened(existing(self.descriptors_path.with_name(f"{side}.h5")), count) as rows:
            yield rows

    def precision(self) -> Precision:
        """That the database was described in; networks in ONNX have their own."""
        with reading(self.descriptors_path) as file:
            told = file.text("precision") if file.has_attribute("precision") else "auto"
        found: dict[str, Precision] = {"float32": "float32", "bfloat16": "bfloat16"}
        return found.get(told, "auto")

    def checked_network(self) -> str:
        """The digest of the network; refuses descriptors of another one."""
        network = cache.digest(self.model_path)
        if network_of(self.descriptors_path) != network:
            raise UserError(
                f"the descriptors of {self.title} are of another network than the present"
                f" {self.variant}: run `dvc repro`."
            )
        return network

    def failed_rows(self) -> np.ndarray:
        """Rows of database images that could not be read."""
        return failed_rows(self.descriptors_path)


def choose(dataset: str | None, variant: str | None, code: str | None) -> Choice:
    """Fills in what was not named: the first set and code in use, and the trained network."""
    p = InUse.load()
    choice = Choice(
        dataset or p.eval_on[0], variant or best_variant(p.variants), code or p.codes[0]
    )
    variants = [*OWN, *p.networks, *p.derived]
    described = paths.descriptors_dir(choice.dataset, choice.variant, FULL)
    _check("set", choice.dataset, p.eval_on, [*p.datasets], described)
    _check("variant", choice.variant, p.variants, variants, paths.model(choice.variant))
    _check("code", choice.code, p.codes, [*p.code_defs], paths.coder(choice.variant, choice.code))
    return choice


def _check(kind: Kind, name: str, in_use: list[str], known: list[str], made: Path) -> None:
    """Refuses a name that does not exist, or that is not in use and was not either before."""
    if name in known:
        if name not in in_use and name != FULL and not made.exists():
            raise UserError(
                f"the {kind} '{name}' is not in use: add it to {SWITCHES[kind]} in {PARAMS_PATH},"
                " and run `dvc repro`."
            )
    elif remedy := preset_with(kind, name, in_use):
        raise UserError(f"the {kind} '{name}' is not in use: type `{remedy}` and `dvc repro`.")
    else:
        raise UserError(f"{PARAMS_PATH}: there is no {kind} '{name}'{nearest(name, known)}.")


def best_variant(variants: list[str]) -> str:
    return "trained" if "trained" in variants else variants[-1]
