"""The city as a real data set is on disk: JPEG files, a specification, a CSV beside it."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from itertools import islice

import numpy as np

from vprlib.city.sensor import jpeg
from vprlib.city.shots import Plan, Shot, draw
from vprlib.formats.specification import Specification
from vprlib.pipeline.progress import progress

POSITIVE_RADIUS_M = 25.0
TRAINING_RADIUS_M = 10.0
_CHUNK = 32  # photographs a worker draws at a time


def photographs(plan: Plan, shots: Sequence[Shot], workers: int) -> Iterator[tuple[str, bytes]]:
    """Name below the part's folder, and JPEG bytes, in order; a few chunks in memory at a time."""
    chunks = [list(shots[i : i + _CHUNK]) for i in range(0, len(shots), _CHUNK)]
    drawn = _draw_chunks(plan, chunks, workers)
    for shot, content in progress(drawn, len(shots), f"drawing {plan.part_name}"):
        yield shot.name.partition("/")[2], content


def specification(plan: Plan) -> Specification:
    """Names and positions in the official form."""
    return Specification(
        which_set=plan.part_name,
        database_names=[shot.name for shot in plan.database],
        database_positions=_positions(plan.database),
        query_names=[shot.name for shot in plan.queries],
        query_positions=_positions(plan.queries),
        positive_radius_m=POSITIVE_RADIUS_M,
        training_radius_m=TRAINING_RADIUS_M,
    )


def metadata_rows(plan: Plan) -> Iterator[tuple[str, str, str]]:
    """What a specification has no field for: image, heading and light."""
    for shot in (*plan.database, *plan.queries):
        yield shot.name, f"{shot.heading_deg:.3f}", shot.light


def _positions(shots: Sequence[Shot]) -> np.ndarray:
    return np.array([(shot.easting, shot.northing) for shot in shots], dtype=np.float64)


def _draw_chunks(
    plan: Plan, chunks: Sequence[list[Shot]], workers: int
) -> Iterator[tuple[Shot, bytes]]:
    """Chunks in order, at most two a worker under way."""
    bare = replace(plan, database=[], queries=[])  # what a worker needs of it
    upcoming = iter(chunks)
    waiting: deque[tuple[list[Shot], Future[list[bytes]]]] = deque()
    with ProcessPoolExecutor(workers) as pool:
        while True:
            for chunk in islice(upcoming, 2 * workers - len(waiting)):
                waiting.append((chunk, pool.submit(_draw_chunk, bare, chunk)))
            if not waiting:
                return
            chunk, drawn = waiting.popleft()
            yield from zip(chunk, drawn.result(), strict=True)


def _draw_chunk(plan: Plan, chunk: Sequence[Shot]) -> list[bytes]:
    return [jpeg(draw(plan, shot), plan.scene.quality) for shot in chunk]
