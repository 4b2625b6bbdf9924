"""Files of the workspace or, through DVC, of a git revision or an experiment."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from vprlib.outputs import existing
from vprlib.params import UserError

if TYPE_CHECKING:
    from dvc.api import DVCFileSystem


class Files:
    """Where the files of one revision lie; those of another than the workspace are copied."""

    def __init__(self, revision: str | None, source: "DVCFileSystem | None", folder: Path) -> None:
        self._revision, self._source, self._folder = revision, source, folder

    def path(self, name: str) -> Path:
        """The file by its name in the project."""
        if self._source is None:
            return existing(Path(name))
        target = self._folder / name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._source.get_file(f"/{name}", str(target))
            except FileNotFoundError:
                raise UserError(
                    f"{self._revision} has no {name}: it was not made there, or DVC's cache and"
                    f" remote lack it; `dvc exp apply {self._revision}` or `git checkout` and then"
                    " `dvc repro` make it."
                ) from None
        return target


@contextmanager
def files_of(revision: str | None) -> Iterator[Files]:
    """The workspace's files for no revision; else those of a commit, a branch, an experiment."""
    with TemporaryDirectory() as folder:
        source = None if revision is None else _opened(revision)
        yield Files(revision, source, Path(folder))
        if source is not None:
            source.close()


def _opened(revision: str) -> "DVCFileSystem":
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc.scm import SCMError  # also of a revision that git does not know

    try:
        source = DVCFileSystem(rev=revision)
        source.ls("/")  # the first look opens it
    except (DvcException, SCMError) as error:
        raise UserError(
            f"{revision} is no git revision and no DVC experiment of this project, and no variant"
            f" of the workspace ({' '.join(str(error).split())}): `git log` and `dvc exp show` list"
            " the revisions, `variants` in params.yaml the networks."
        ) from None
    return source
