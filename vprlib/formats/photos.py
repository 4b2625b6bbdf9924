"""Lists a folder of photographs as a data set: database, queries or a self-test, and sessions."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

import numpy as np
from pydantic import Field

from vprlib.formats.photo_places import QUERIES, Photographs, locate, look_at
from vprlib.formats.photo_words import choose_words
from vprlib.images.exif import Facts
from vprlib.images.seen import Seen
from vprlib.pipeline.draws import choose_rows
from vprlib.pipeline.params import Section, Seed, UserError
from vprlib.places.projection import metres_from
from vprlib.places.sessions import SessionSettings, ThinSettings, sessions_of, thinned
from vprlib.places.truth import Apart

FAR_KM = 1000.0
Columns = dict[str, np.ndarray]


class PhotoSettings(Section):
    """An entry of `photos`: how a folder of photographs becomes a set."""

    sessions: SessionSettings = SessionSettings()
    thin: ThinSettings | None = None  # null: every photograph is in the database
    words: Annotated[int, Field(ge=1, le=10**6)] = 200  # photographs for the visual words
    # photographs that are asked of the other sessions, where there are no queries; 0: none
    self_test: Annotated[int, Field(ge=0, le=10**6)] = 500
    # of the cameras' clocks before UTC, for GPX tracks; null: as EXIF says
    clock_ahead_h: Annotated[float, Field(ge=-24, le=24)] | None = None
    seed: Seed = 1


@dataclass(frozen=True)
class PhotoList:
    """The set as a table, what was left out of it, and what is to be said."""

    header: list[str]
    rows: list[tuple[object, ...]]
    words: list[str]  # photographs that the visual words come from
    left_out: list[str]
    numbers: dict[str, object]
    sentence: str


def list_photographs(
    folder: Path,
    settings: PhotoSettings,
    radius_m: float,
    workers: int,
    words_path: Path,
    seen: Seen[Facts] | None = None,
) -> PhotoList:
    """All photographs below the folder; `radius_m` says what shows the same place.

    At `words_path` may be the photographs that an earlier run took the visual words from.
    """
    found, unreadable = look_at(folder, workers, seen)
    photos = locate(folder, found, settings.clock_ahead_h)
    clocks = _clocks(photos.facts)
    folders = [str(PurePosixPath(name).parent) for name in photos.names]
    cameras = [facts.camera for facts in photos.facts]
    labels, by = sessions_of(clocks, folders, cameras, settings.sessions)
    sessions = np.array(labels, dtype=object)

    known, is_query = photos.is_located, photos.is_query
    is_plain = not known[~is_query].any()
    database = np.flatnonzero(~is_query & (known | is_plain))
    asked = np.flatnonzero(is_query & known) if not is_plain else np.zeros(0, np.int64)
    kept = database
    if settings.thin is not None and not is_plain:
        headings = np.array([np.nan if f.heading is None else f.heading for f in photos.facts])
        kept = database[thinned(photos.metres(database), headings[database], settings.thin)]
    if not len(kept):
        raise UserError(
            f"{folder} holds no photograph that can be read, or only {QUERIES}:"
            " `vpr use photos FOLDER` links a folder of photographs."
        )
    tested = _self_test(photos, kept, sessions, settings, radius_m, len(asked) or is_plain)
    thin_out = np.setdiff1d(database, kept)
    nowhere = [] if is_plain else np.flatnonzero(~known).tolist()
    left_out = [*unreadable, *(f"{photos.names[n]}: {photos.reasons[n]}" for n in nowhere)]
    left_out += [f"{photos.names[n]}: thinned out" for n in thin_out.tolist()]
    queries = asked if len(asked) else tested
    columns = _columns(photos, clocks, sessions, folder, np.union1d(kept, queries))
    rows = [*_rows(photos, columns, "database", kept), *_rows(photos, columns, "query", queries)]
    numbers: dict[str, object] = {
        "photographs": len(photos.names) + len(unreadable),
        "database": len(kept),
        "queries": len(asked),
        "self_test_queries": len(tested),
        "unreadable": len(unreadable),
        "without_a_position": int((~known).sum()),
        "thinned_out": len(thin_out),
        "positions_from": photos.source,
        "sessions": len({*sessions[kept].tolist()}),
        "sessions_by": by,
        "span_km": None if is_plain else round(_span_km(photos, kept), 3),
        "queries_of_a_session_in_the_database": int(
            np.isin(sessions[asked].astype(str), sessions[kept].astype(str)).sum()
        ),
    }
    names = [photos.names[row] for row in kept.tolist()]
    words, reason = choose_words(words_path, names, settings.words, settings.seed)
    header = ["path", "role", *columns]
    judged = _judged(numbers, wants_test=settings.self_test > 0)
    said = _sentence(numbers, photos, nowhere, judged)
    said += f"; the visual words are learnt anew: {reason}" if reason else ""
    return PhotoList(header, rows, words, left_out, numbers, said)


def _clocks(facts: Sequence[Facts]) -> np.ndarray:
    """Times of all photographs on one clock: in UTC if all tell it, or else as cameras showed."""
    in_utc = np.array([f.utc for f in facts], float)
    return in_utc if np.isfinite(in_utc).all() else np.array([f.clock for f in facts], float)


def _self_test(
    photos: Photographs,
    database: np.ndarray,
    sessions: np.ndarray,
    settings: PhotoSettings,
    radius_m: float,
    is_needless: int | bool,
) -> np.ndarray:
    """Photographs of the database to ask of the other sessions; none if none could be right."""
    if is_needless or not settings.self_test or len({*sessions[database].tolist()}) < 2:
        return database[:0]
    metres, labels = photos.metres(database), sessions[database]
    answerable = Apart(metres, metres, radius_m, labels, labels).counts() > 0
    if not answerable.any():
        return database[:0]
    different = sorted({*labels.tolist()})
    each = max(1, settings.self_test // len(different))  # so that each session counts as much
    rows = [np.flatnonzero(labels == label) for label in different]
    parts = [of_it[choose_rows(len(of_it), each, settings.seed)] for of_it in rows]
    drawn = np.sort(np.concatenate(parts))[: settings.self_test]
    if not answerable[drawn].any():  # few are; of these, then
        some = np.flatnonzero(answerable)
        drawn = some[choose_rows(len(some), settings.self_test, settings.seed)]
    return database[drawn]


def _columns(
    photos: Photographs, clocks: np.ndarray, sessions: np.ndarray, folder: Path, used: np.ndarray
) -> Columns:
    """Columns of the table; those that the photographs in use lack are left out."""
    stats = [(folder / name).stat() for name in photos.names]
    headings = np.array([f.heading for f in photos.facts], float)
    columns: Columns = {}
    if np.isfinite(photos.places[used]).all():
        names = ("lat", "lon") if photos.in_degrees else ("easting", "northing")
        columns |= dict(zip(names, photos.places.T, strict=True))
    optional = {"heading": headings, "timestamp": clocks}
    columns |= {name: v for name, v in optional.items() if np.isfinite(v[used]).all()}
    return columns | {
        "session": sessions,
        "bytes": np.array([about.st_size for about in stats]),
        "modified": np.array([about.st_mtime_ns for about in stats]),
    }


def _rows(
    photos: Photographs, columns: Columns, role: str, rows: np.ndarray
) -> Iterator[tuple[object, ...]]:
    for row in rows.tolist():
        yield (photos.names[row], role, *(values[row] for values in columns.values()))


def _span_km(photos: Photographs, rows: np.ndarray) -> float:
    """How far the farthest photograph is from the first."""
    places = photos.places[rows]
    if not photos.in_degrees:
        return float(np.linalg.norm(places - places[0], axis=1).max()) / 1000
    degrees = places[:, ::-1]
    return float(metres_from(degrees[0], degrees).max()) / 1000


def _sentence(
    n: dict[str, object], photos: Photographs, nowhere: Sequence[int], judged: str
) -> str:
    at = f"{n['database']} with a position (from {photos.source})"
    said = [f"{n['photographs']} photographs", at]
    if n["span_km"] is None:
        said[1] = "none has a position, so that answers are photographs and no recall is known"
    if nowhere:
        why = Counter(photos.reasons[row] for row in nowhere)
        most, count = why.most_common(1)[0]
        said.append(f"{len(nowhere)} without a position are left out ({count}: {most})")
    for name, words in (
        ("unreadable", "cannot be read and are left out"),
        ("thinned_out", "are thinned out"),
    ):
        said += [f"{n[name]} {words}"] if n[name] else []
    if n["span_km"] is not None:
        said += [f"{n['sessions']} sessions by {n['sessions_by']}", judged]
    text = "; ".join(said)
    if isinstance(n["span_km"], float) and n["span_km"] > FAR_KM:
        text += f"; WARNING: they lie {n['span_km']:.0f} km apart: is a position wrong?"
    if of_own := n["queries_of_a_session_in_the_database"]:
        text += f"; {of_own} queries are of a session in the database, which is not shown to them"
    return text


def _judged(n: dict[str, object], wants_test: bool) -> str:
    if n["queries"]:
        return f"{n['queries']} queries"
    if n["self_test_queries"]:
        return f"{n['self_test_queries']} photographs are asked of the other sessions"
    if not wants_test:
        return "no self-test, as self_test is 0"
    if n["sessions"] == 1:
        return (
            "with one session nothing can be known of how often answers are right: photographs of"
            " one drive are found by their neighbours of the same minute, which would flatter"
        )
    return "no two sessions show the same place, so nothing can be known of how often it is right"
