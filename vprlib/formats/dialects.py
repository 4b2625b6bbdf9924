"""Finds out in which format a file or folder describes a data set, and reads it."""

from collections import Counter
from pathlib import Path

from vprlib.formats.checks import images_below
from vprlib.formats.listing import read_listing
from vprlib.formats.mat import fields_of, read_db_struct, read_struct
from vprlib.formats.mat_variants import is_matrices, read_cells, read_matrices
from vprlib.formats.retrieval import is_holidays, read_ground_truth, read_holidays
from vprlib.formats.specification import Layout, Specification, check_names
from vprlib.formats.utm_names import SIDES, read_utm_folder
from vprlib.pipeline.params import UserError


def read_specification(
    path: Path, images: Path | None = None, layout: Layout | None = None
) -> Specification:
    """A `.mat`, a `.csv`, or a folder; `images` is the folder of the set."""
    layout = layout or Layout()
    if not path.exists():
        raise UserError(f"{path} is missing: put or link the specification file there.")
    if path.is_dir():
        specification = _read_folder(path, images or path, layout)
    elif path.suffix.lower() == ".csv":
        specification = read_listing(path, layout)
    else:
        specification = _read_mat(path, layout)
    check_names(specification, path)
    return specification


def _read_mat(path: Path, layout: Layout) -> Specification:
    struct = read_db_struct(path)
    if struct.dtype.names is None:
        return read_cells(struct, path)
    fields = fields_of(struct, path)
    return read_matrices(fields, path, layout) if is_matrices(fields) else read_struct(fields, path)


def _read_folder(path: Path, images: Path, layout: Layout) -> Specification:
    base = images / layout.database_dir
    has_lists = any(path.glob("*_query.txt"))
    is_utm = all((path / side).is_dir() for side in SIDES)
    here = [] if has_lists or is_utm else images_below(path)
    if not (has_lists or is_utm or is_holidays(here)):
        raise _unknown(path, here)
    if layout.queries_dir != layout.database_dir:
        raise UserError(
            f"{path}: queries and database share one folder, so layout.queries_dir should be"
            f" '{layout.database_dir}' like layout.database_dir, but is '{layout.queries_dir}'."
        )
    if not has_lists and not path.is_relative_to(base):
        raise UserError(f"{path} should lie below {base}: correct layout.database_dir of the set.")
    if has_lists:
        return read_ground_truth(path, base, layout)
    if is_utm:
        return read_utm_folder(path, base, layout)
    return read_holidays(here, base, layout)


def _unknown(path: Path, images: list[Path]) -> UserError:
    found = sorted(path.iterdir())
    kinds = Counter(entry.suffix or "no suffix" for entry in found if not entry.is_dir())
    folders = [f"{entry.name}/" for entry in found if entry.is_dir()]
    files = [f"{count} × {kind}" for kind, count in sorted(kinds.items())]
    named = f", images such as '{images[0].name}'" if images else ""
    return UserError(
        f"{path} holds {', '.join([*folders[:5], *files]) or 'nothing'}{named}, but a data"
        " set needs database/ and queries/ with positions in the names (@utm_easting@…), or"
        " Oxford's and Paris's *_query.txt, or the six-digit names of INRIA Holidays; or write a"
        " CSV of path, easting, northing."
    )
