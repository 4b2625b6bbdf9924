"""Draws an evaluated set of any size: streets of images, and answers of networks made up."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from vprlib.evaluate.intervals import IntervalSettings, query_locations, with_intervals
from vprlib.evaluate.protocols import Ranking, measure
from vprlib.evaluate.recall import RecallSettings
from vprlib.images.decode import digest_of
from vprlib.images.index import ImageIndex, write_index
from vprlib.pipeline import paths
from vprlib.pipeline.artifacts import write_hdf5, write_json, write_text
from vprlib.places.truth import Near

ROOT = Path(__file__).parents[1]
SET = "drawn"
RADIUS_M, STEP_M, STREETS_M = 25.0, 10.0, 100.0  # between images of a street, and between streets
CORNER = np.array([32_500_000.0, 4_400_000.0])  # UTM zone 32
KEPT = 20  # results of a query
LIGHTS = ("day", "dusk", "night")
# share of answers that are right, near misses, right at a lower rank; the others are far away
SHARES = {"off_the_shelf": (0.72, 0.05, 0.15), "trained": (0.86, 0.03, 0.08)}


@dataclass(frozen=True)
class Size:
    queries: int
    database: int
    pictures: int  # that differ; the others are links to them
    short_side: int = 144


def draw(
    folder: Path, size: Size, variants: Sequence[str], codes: Sequence[str], odd_name: str = ""
) -> None:
    """Writes what the pipeline would leave: params.yaml, images, index, predictions and metrics."""
    random = np.random.default_rng(1)
    street = max(2, round(size.database**0.5))  # images in one
    rows = np.arange(size.database)
    database = CORNER + np.stack([rows % street * STEP_M, rows // street * STREETS_M], axis=1)
    base = random.integers(0, size.database, size.queries)
    queries = database[base] + random.normal(0, 4, (size.queries, 2))
    queries[::50] -= [STEP_M * street + 100.0, 0.0]  # nobody has been there
    _write_images(folder, size)
    names = [f"{i // 1000:03}/{SET}_q{i:06}.jpg" for i in range(size.queries)]
    if odd_name:
        (folder / paths.RAW / SET / odd_name).hardlink_to(folder / paths.RAW / SET / names[1])
        names[1] = odd_name
    sides = {
        "db": _index([f"{i // 1000:03}/{SET}_{i:06}.jpg" for i in rows], database, size, folder),
        "queries": _index(names, queries, size, folder),
    }
    write_index(folder / paths.index(SET, "db"), sides["db"])
    radii = {"positive_radius_m": RADIUS_M, "training_radius_m": 10.0}
    write_index(folder / paths.index(SET, "queries"), sides["queries"], radii)
    _write_params(folder, variants, codes)
    truth = Near(queries, database, RADIUS_M)
    for number, (variant, code) in enumerate((v, c) for v in variants for c in codes):
        draws = np.random.default_rng([7, number])
        rows, distances = _answers(draws, base, size, SHARES.get(variant, SHARES["trained"]))
        _evaluate(folder, variant, code, Ranking(rows, distances, None), truth)


def _write_images(folder: Path, size: Size) -> None:
    """Distinct pictures, and as many names as there are images."""
    root = folder / paths.RAW / SET
    shape = (size.short_side, size.short_side * 4 // 3)
    for i in range(max(size.database, size.queries)):
        for name in (f"{SET}_{i:06}.jpg", f"{SET}_q{i:06}.jpg"):
            if i >= (size.queries if "_q" in name else size.database):
                continue
            path, first = (root / f"{n // 1000:03}" / name for n in (i, i % size.pictures))
            first = first.with_name(f"{SET}_{i % size.pictures:06}.jpg")
            path.parent.mkdir(parents=True, exist_ok=True)
            if not first.exists():
                Image.fromarray(_picture(i, shape)).save(first, quality=85)
            if path != first:
                path.hardlink_to(first)


def _picture(seed: int, shape: tuple[int, int]) -> np.ndarray:
    """Blocks of colour of two sizes, which compress about as photographs do."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    fine = Image.fromarray(random.integers(0, 256, (48, 64, 3), dtype=np.uint8))
    size, how = (shape[1], shape[0]), Image.Resampling.BICUBIC
    return np.asarray(Image.blend(coarse.resize(size, how), fine.resize(size, how), 0.25))


def _index(names: Sequence[str], positions: np.ndarray, size: Size, folder: Path) -> ImageIndex:
    """As parsing would find it, without opening every file."""
    contents = [
        (folder / paths.RAW / SET / f"{i // 1000:03}/{SET}_{i:06}.jpg").read_bytes()
        for i in range(size.pictures)
    ]
    of = np.arange(len(names)) % size.pictures
    random = np.random.default_rng(len(names))
    ones = np.ones(len(names), np.int32)
    return ImageIndex(
        SET,
        list(names),
        positions,
        byte_sizes=np.array([len(content) for content in contents])[of],
        widths=ones * (size.short_side * 4 // 3),
        heights=ones * size.short_side,
        is_rotated=np.zeros(len(names), bool),
        digests=np.array([digest_of(content) for content in contents])[of],
        extra={
            "heading": random.uniform(0, 360, len(names)),
            "light": np.array(LIGHTS, dtype=object)[random.integers(0, 3, len(names))],
        },
    )


def _write_params(folder: Path, variants: Sequence[str], codes: Sequence[str]) -> None:
    tree = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    of_set = tree["datasets"]["city_test"] | {"folder": SET, "layout": {}}
    tree["datasets"] = {SET: of_set}
    tree |= {"eval_on": [SET], "calibrate_on": SET, "train_on": ["city_train"]}
    tree |= {"variants": list(variants), "codes": list(codes)}
    tree["derived"] = {v: "trained" for v in variants if v not in SHARES}
    tree["code_defs"] = {code: tree["code_defs"]["full"] for code in codes}
    write_text(folder / "params.yaml", yaml.safe_dump(tree, sort_keys=False))


def _answers(
    random: np.random.Generator, base: np.ndarray, size: Size, shares: tuple[float, float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and distances [Q, K]; right answers tend to be nearer than wrong ones."""
    count = len(base)
    rows = random.integers(0, size.database, (count, KEPT))
    kind = np.searchsorted(np.cumsum(shares), random.random(count))
    rank = np.where(kind == 0, 0, random.integers(1, 8, count))
    is_found = kind != 3
    rows[np.flatnonzero(is_found), rank[is_found]] = base[is_found]
    rows[kind == 1, 0] = np.minimum(base[kind == 1] + 4, size.database - 1)  # 40 m on
    gap = np.where(kind == 0, random.gamma(2, 0.12, count), random.gamma(1, 0.05, count))
    steps = np.insert(random.exponential(0.01, (count, KEPT - 2)), 0, gap, axis=1)
    distances = 0.6 + 0.2 * random.random((count, 1)) + np.insert(steps.cumsum(1), 0, 0, axis=1)
    return rows, distances.astype(np.float32)


def _evaluate(folder: Path, variant: str, code: str, ranking: Ranking, truth: Near) -> None:
    """As the stage `recall`."""
    settings = IntervalSettings()
    measured = measure("plain", ranking, truth, RecallSettings())
    place = query_locations(truth.queries, truth, settings.location_m)
    result = with_intervals(measured, place, False, settings)
    names = (SET, variant, code)
    arrays = {"indices": ranking.rows, "distances": ranking.distances, "hits": result.right}
    facts = {"set": SET, "variant": variant, "code": code, "protocol": "plain"}
    path = folder / paths.predictions(*names)
    write_hdf5(path, arrays, {**facts, "radius_m": RADIUS_M})
    write_json(folder / paths.result_metrics("recall", *names), result.metrics)
