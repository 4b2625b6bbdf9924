"""The audit: a planted leak of each kind is found, a clean set has none."""

from dataclasses import replace

import numpy as np
import pytest

from vprlib.evaluate.leaks import Audited, AuditSettings, audit, overlap, refuse
from vprlib.formats.dialects import read_specification
from vprlib.formats.specification import Layout
from vprlib.images.fingerprints import Fingerprints, read_fingerprints, write_fingerprints
from vprlib.images.hashes import ImageHashes
from vprlib.pipeline.params import UserError
from vprlib.places.geo import nearest_m

SETTINGS = AuditSettings()


def fingerprints(name, side, count, easting, seed):
    """Images ten metres apart, each unlike all others."""
    generator = np.random.default_rng([seed, count])
    return Fingerprints(
        name,
        [f"{side}/{name}_{row}.jpg" for row in range(count)],
        generator.integers(0, 2**62, count),
        np.stack([easting + 10.0 * np.arange(count), np.full(count, 4_470_000.0)], axis=1),
        ImageHashes(generator.integers(0, 256, (count, 32), np.uint8), np.zeros(count, bool)),
    )


def a_set(name, easting, seed, folder="city"):
    return Audited(
        folder,
        fingerprints(name, "db", 12, easting, seed),
        fingerprints(name, "q", 6, easting, seed + 50),
    )


TRAIN = a_set("x_train", 500_000.0, 1)
VAL = a_set("x_val", 510_000.0, 2)
TEST = a_set("x_test", 520_000.0, 3)


def found(test=TEST, train=TRAIN, val=VAL):
    return audit(test, train, val, SETTINGS)


def planted(these, others, side, *fields, row=0, of="database"):
    """`these` with what the first image of the other set has, in these fields of one side."""
    old, donor = getattr(these, side), getattr(others, of)
    new = old
    for field in fields:
        if field == "hashes":
            bits = old.hashes.bits.copy()
            bits[row] = donor.hashes.bits[0]
            bits[row, 0] ^= 0b1011  # three bits of 256 differ
            new = replace(new, hashes=ImageHashes(bits, old.hashes.is_plain))
        else:
            values = getattr(old, field).copy()
            values[row] = getattr(donor, field)[0]
            new = replace(new, **{field: values})
    return replace(these, **{side: new})


def test_a_clean_set_has_no_leak():
    a = found()
    assert a.leaks == a.remarks == [] and a.verdict() == ""
    assert a.metrics()["leaks"] == 0
    assert a.sentence() == "nothing of x_test leaks from x_train"
    refuse(a, fatal=True)


@pytest.mark.parametrize(
    ("side", "field", "of", "said"),
    [
        ("queries", "digests", "database", "1 queries of x_test are also in x_train"),
        ("database", "digests", "queries", "1 database images of x_test are also in x_train"),
        ("queries", "hashes", "queries", "1 queries of x_test are copied in x_train"),
        ("database", "hashes", "database", "1 database images of x_test are copied in x_train"),
        (
            "queries",
            "positions",
            "database",
            "1 queries and 0 database images of x_test are within 25 m of x_train",
        ),
        (
            "database",
            "positions",
            "queries",
            "0 queries and 1 database images of x_test are within 25 m of x_train",
        ),
    ],
)
def test_what_is_planted_from_training_is_found(side, field, of, said):
    a = found(test=planted(TEST, TRAIN, side, field, of=of))
    assert a.leaks == [said] and a.verdict() == f"LEAK: {said}"
    with pytest.raises(UserError, match=f"^LEAK: {said}; audit.fatal forbids it"):
        refuse(a, fatal=True)
    refuse(a, fatal=False)


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (
            {"test": planted(TEST, VAL, "queries", "digests")},
            "1 queries of x_test are also in x_val",
        ),
        (
            {"val": planted(VAL, TRAIN, "database", "hashes")},
            "1 database images of x_val are copied in x_train",
        ),
    ],
)
def test_what_is_planted_around_validation_is_found(plant, said):
    assert found(**plant).leaks == [said]


def test_near_validation_is_said_and_is_no_leak():
    """As in the official split of Pittsburgh."""
    a = found(test=planted(TEST, VAL, "queries", "positions"))
    assert a.leaks == []
    assert a.remarks == ["1 queries and 0 database images of x_test are within 25 m of x_val"]


def test_a_byte_for_byte_copy_is_not_counted_again_as_a_look_alike():
    found = overlap(planted(TEST, TRAIN, "queries", "digests", "hashes"), TRAIN, SETTINGS)
    assert (found.queries_same, found.queries_alike) == (1, 0)


def test_one_set_for_everything_is_said_in_full():
    """Berlin's one file serves as training, validation and test set."""
    names = {"x_train": TRAIN, "x_val": TRAIN, "x_test": TRAIN}
    train, val, test = (
        Audited("city", *(replace(side, set_name=name) for side in (of.database, of.queries)))
        for name, of in names.items()
    )
    a = found(test=test, train=train, val=val)
    assert a.leaks[0] == "all 6 queries and all 12 database images of x_test are also in x_train"
    assert "are also in x_val" in a.verdict()


def test_the_validation_set_itself_is_said_to_be_it():
    a = found(test=VAL)
    assert a.leaks == [] and a.with_val is None
    assert a.sentence().endswith("; x_val was used to judge the epochs")
    assert found(test=TRAIN).leaks[0].startswith("all 6 queries and all 12 database images")


def test_distances_equal_a_double_loop():
    test = replace(TEST, queries=replace(TEST.queries, positions=TRAIN.positions[4:10] + 18.0))
    found = overlap(test, TRAIN, SETTINGS)

    def near(these, others):
        return sum(any(np.hypot(*(a - b)) <= 25.0 for b in others) for a in these)

    assert found.queries_near == near(test.queries.positions, TRAIN.positions) > 0
    assert found.queries_near_database == near(test.queries.positions, TRAIN.database.positions)
    assert found.database_near == near(test.database.positions, TRAIN.positions) == 0
    assert found.nearest_m == pytest.approx(
        min(np.hypot(*(a - b)) for a in test.positions for b in TRAIN.positions)
    )


def test_positions_of_another_origin_are_not_compared():
    def at(a_set, positions_of):
        sides = (
            replace(side, positions=positions_of(side.positions))
            for side in (a_set.database, a_set.queries)
        )
        return Audited("elsewhere", *sides)

    frames = at(TEST, lambda p: p - p.min(axis=0))
    unknown = at(TEST, lambda p: np.full_like(p, np.nan))
    for other in (frames, unknown):
        assert overlap(other, TRAIN, SETTINGS).nearest_m is None
        assert found(test=other).leaks == []
    assert overlap(at(TEST, lambda p: p), TRAIN, SETTINGS).nearest_m > 9_000
    plan = replace(TRAIN, database=frames.database, queries=frames.queries)
    assert overlap(replace(frames, folder="city"), plan, SETTINGS).nearest_m == 0.0


def test_fingerprints_are_read_as_written(tmp_path):
    write_fingerprints(tmp_path / "f.h5", TEST.database, TEST.queries)
    for side, old in zip(
        read_fingerprints(tmp_path / "f.h5"), (TEST.database, TEST.queries), strict=True
    ):
        assert (side.set_name, side.names) == (old.set_name, old.names)
        assert np.array_equal(side.digests, old.digests)
        assert np.array_equal(side.positions, old.positions)
        assert np.array_equal(side.hashes.bits, old.hashes.bits)


SPLITS = ("train", "val", "test")
# queries of one split within 25 m of another's database, and the nearest, as published files have
BETWEEN = {
    ("val", "train"): (168, 6.43),
    ("train", "val"): (600, 7.94),
    ("test", "val"): (216, 5.50),
    ("val", "test"): (120, 10.17),
    ("train", "test"): (0, 205.1),
    ("test", "train"): (0, 188.7),
}


def test_pittsburgh_has_the_known_distances_between_its_splits(real_spec, tmp_path):
    sets = {}
    for seed, split in enumerate(SPLITS):
        path = real_spec(f"pitts30k_{split}.mat")
        spec = read_specification(path, tmp_path, Layout(queries_dir="queries_real"))
        sides = (
            (spec.database_names, spec.database_positions),
            (spec.query_names, spec.query_positions),
        )
        sets[split] = Audited(
            "pitts30k",
            *(
                Fingerprints(
                    f"pitts30k_{split}",
                    names,
                    np.arange(len(names)) + 10**6 * (seed + 1) + 10**5 * number,
                    positions,
                    ImageHashes(np.zeros((len(names), 32), np.uint8), np.ones(len(names), bool)),
                )
                for number, (names, positions) in enumerate(sides)
            ),
        )
    for (these, others), (count, metres) in BETWEEN.items():
        found = overlap(sets[these], sets[others], SETTINGS)
        assert found.queries_near_database == count, (these, others)
        near = nearest_m(sets[these].queries.positions, sets[others].database.positions)
        assert near.min() == pytest.approx(metres, abs=0.06)
    a = audit(sets["test"], sets["train"], sets["val"], SETTINGS)
    assert a.leaks == [] and a.with_train.queries_near == 0
    assert a.with_val.queries_near_database == 216
    assert a.val_with_train.queries_near_database == 168
