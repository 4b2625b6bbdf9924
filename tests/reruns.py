"""The stages that edits rerun on the tiny city, by name."""

import tiny

SIDES = ("extract_db", "extract_queries")


def described(dataset, *variants):
    return {f"{side}@{dataset}-{v}" for side in SIDES for v in variants}


BOTH = ("off_the_shelf", "trained")
TEST, VAL = "city_test", "city_val"  # the latter calibrates


def named(stage, *datasets, variants=BOTH, code="full"):
    return {f"{stage}@{d}-{v}-{code}" for d in datasets for v in variants}


def calibrated(*datasets, variants=BOTH, code="full"):
    """What hangs on other predictions of these sets, and on the thresholds that come from them."""
    found = {f"calibrate@{v}-{code}" for v in variants if VAL in datasets}
    return found | named(
        "diagnose", *((TEST, VAL) if found else datasets), variants=variants, code=code
    )


def searched(*datasets, variants=BOTH, code="full"):
    """From search on."""
    found = {s: named(s, *datasets, variants=variants, code=code) for s in ("search", "recall")}
    return found["search"] | found["recall"] | calibrated(*datasets, variants=variants, code=code)


def encoded(*variants, code):
    """What one more code makes of descriptors that are there."""
    own = {f"fit_code@{v}-{code}" for v in variants}
    own |= named("encode", TEST, VAL, variants=variants, code=code)
    return own | searched(TEST, VAL, variants=variants, code=code)


def below(*variants):
    """What another network brings about."""
    sides = described(TEST, *variants) | described(VAL, *variants)
    return sides | searched(TEST, VAL, variants=variants)


TRAIN = "train@city_train"
BELOW_INIT = below(*BOTH) | {"init_model@city_train", TRAIN}

AUDITS = {f"audit@{name}-city_train" for name in (TEST, VAL)}
CALIBRATION = {f"calibrate@{v}-full" for v in BOTH}
DIAGNOSES = named("diagnose", TEST, VAL)
JUDGED = named("recall", TEST, VAL) | CALIBRATION | DIAGNOSES
SETS = {"parse_mat@city_train", "parse_mat@city_val", "parse_mat@city_test"}
CITY = {"make_city@train", "make_city@val", "make_city@test"}
DESCRIBED = described(TEST, *BOTH) | described(VAL, *BOTH)
NETWORKS = {
    f"{s}@city_train" for s in ("sample_features", "kmeans_centroids", "init_model", "train")
}


def edited(project, change):
    tree = tiny.params()
    change(tree)
    project.write(tree)
    return project.repro()
