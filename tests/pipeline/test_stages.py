"""Whole stages on a toy set: what they write, and one sentence for each bad input."""

import json
import urllib.error

import h5py
import numpy as np
import pytest
import torch
import torchvision
import toy
import yaml
from staged import (
    EXTRACT,
    FULL,
    MAT,
    MODEL,
    SET,
    TRAIN,
    VARIANT,
    VECTORS,
    describe_sides,
    edit_params,
    fit_and_encode,
    search_and_recall,
    to_model,
    use_codes,
)

from vprlib.formats.mat import specification_bytes
from vprlib.interop.words import Words, write_mat_words, write_port_words
from vprlib.model.model import Architecture, PlaceModel, read_history, read_model, write_model
from vprlib.model.netvlad import alpha_v1
from vprlib.model.settings import PoolSettings
from vprlib.pipeline import artifacts, paths
from vprlib.train import gradients


def test_the_stages_one_after_the_other_end_in_recall(here, run):
    to_model(run)
    run("train", *TRAIN)
    describe_sides(run)
    said = search_and_recall(run)
    metrics = json.loads(paths.result_metrics("recall", *FULL).read_text())
    assert metrics["queries"] == 6 and metrics["queries_without_positive"] == 0
    assert 0 <= metrics["recall@1"] <= metrics["recall@5"] <= metrics["recall@20"] == 1
    assert f"recall@1 {metrics['recall@1']:.3f}" in said
    with h5py.File(paths.predictions(*FULL)) as file:
        assert file["indices"].shape == file["hits"].shape == (6, 12)
        assert np.mean(file["hits"][:, 0]) == metrics["recall@1"]
    assert not list(paths.SCRATCH.iterdir())


def describe_by_chance():
    for side, count in (("db", 12), ("queries", 6)):
        vectors = np.random.default_rng(count).normal(size=(count, 4)).astype(np.float32)
        artifacts.write_hdf5(VECTORS[side], {"descriptors": vectors}, {"network": "one"})


@pytest.mark.parametrize("protocol", ["plain", "ranked"])
def test_recall_names_its_protocol_wherever_its_number_stands(here, run, protocol):
    run("parse_mat", SET)
    describe_by_chance()
    edit_params(here, "datasets.toy_train", protocol=protocol)
    said = search_and_recall(run)
    metrics = json.loads((paths.result_metrics("recall", *FULL)).read_text())
    assert said.startswith(f"toy_train, off_the_shelf, full, {protocol}: 6 queries")
    assert (metrics["protocol"], metrics["radius_m"]) == (protocol, 25.0)
    assert ("map" in metrics) == ("  map 0." in said) == (protocol == "ranked")
    with h5py.File(paths.predictions(*FULL)) as file:
        assert file.attrs["protocol"] == protocol


def test_ranges_of_n_reach_the_curve_and_twenty_neighbours_are_kept_whatever_n(here, run):
    run("parse_mat", SET)
    describe_by_chance()
    edit_params(here, "recall", ns=[1, "3:2:5"])
    search_and_recall(run)
    curve = (paths.result_metrics("recall", *FULL).with_suffix(".csv")).read_text().splitlines()
    assert [line.split(",")[0] for line in curve] == ["n", "1", "3", "5"]
    assert curve[0] == "n,recall,low,high"
    metrics = json.loads((paths.result_metrics("recall", *FULL)).read_text())
    ends = [metrics[f"recall@3{end}"] for end in ("", "_low", "_high")]
    assert curve[2] == ",".join(["3", *map(str, ends)]) and ends[1] < ends[0] < ends[2]
    assert (metrics["locations"], metrics["location_m"]) == (6, 1.0)
    with h5py.File(paths.predictions(*FULL)) as file:
        assert file["indices"].shape == (6, 12)  # all of the database


@pytest.mark.parametrize(
    ("protocol", "problem"),
    [
        ("tokyo247", "rows 0 to 11 of toy_train's database have several"),
        ("tokyoTM", "toy_train has no positions with time stamps"),
        ("tokyo", "datasets.toy_train.protocol is 'tokyo'"),
    ],
)
def test_a_protocol_that_does_not_fit_the_set_is_refused(here, run, refused, protocol, problem):
    run("parse_mat", SET)
    describe_by_chance()
    edit_params(here, "datasets.toy_train", protocol=protocol)
    assert problem in refused("recall", *FULL)


def test_a_text_that_is_no_range_of_n_is_named_with_its_place(here, refused):
    edit_params(here, "recall", ns=["5:1"])
    assert "params.yaml: recall.ns: '5:1' is no range such as '1:5'" in refused("recall", *FULL)


@pytest.mark.parametrize("kind", ["average", "gem"])
def test_a_pool_without_words_goes_through_all_stages(here, run, kind):
    edit_params(here, "model.pool", kind=kind)
    run("parse_mat", SET)
    images = here / "data/raw/toy"
    images.rename(here / "elsewhere")  # nothing need be looked at
    assert "sample: 0 descriptors of 256 dimensions from 0 images" in run("sample_features", SET)
    assert "k-means: no words needed" in run("kmeans_centroids", SET)
    said = run("init_model", SET)
    assert f"alexnet (random) with {kind} pooling, 256 dimensions" in said
    (here / "elsewhere").rename(images)
    run("train", *TRAIN)
    run("extract_db", *EXTRACT)
    with h5py.File(VECTORS["db"]) as file:
        norms = np.linalg.norm(file["descriptors"][:], axis=1)
    assert norms == pytest.approx(np.ones(12), abs=1e-5)


def test_a_pool_without_weights_cannot_learn_alone(here, run, refused):
    tree = toy.params()
    tree["model"]["pool"]["kind"] = "max"
    tree["train"]["first_layer"] = "pool"
    toy.write_params(here, tree)
    to_model(run)
    assert "first_layer is 'pool', but then nothing would learn" in refused("train", *TRAIN)


def test_an_unknown_cut_is_refused_with_those_that_exist(here, run, refused):
    run("parse_mat", SET)
    edit_params(here, "model.backbone", cut="conv6")
    said = refused("sample_features", SET)
    assert "cut is 'conv6', but alexnet can be cut after conv1, conv2," in said


def test_a_stage_run_twice_writes_the_same_bytes(here, run):
    to_model(run)
    outputs = [*here.glob("artifacts/**/*.*"), *here.glob("data/index/**/*.h5")]
    first = {path: path.read_bytes() for path in outputs}
    to_model(run)
    assert len(first) == 6 and {path: path.read_bytes() for path in outputs} == first


def test_new_queries_do_not_change_the_database_index(here, run):
    run("parse_mat", SET)
    before = (paths.index(SET, "db")).read_bytes()
    spec = toy.specification(name="toy_train")
    moved = toy.Specification(**{**vars(spec), "query_positions": spec.query_positions + 1.5})
    (MAT).write_bytes(specification_bytes(moved))
    run("parse_mat", SET)
    assert (paths.index(SET, "db")).read_bytes() == before


def test_words_of_a_file_take_the_place_of_k_means(here, run, refused):
    run("parse_mat", SET)
    run("sample_features", SET)
    words = np.random.default_rng(1).normal(size=(3, 256)).astype(np.float32)
    paths.WEIGHTS.mkdir()
    write_mat_words(paths.WEIGHTS / "w.mat", words)
    edit_params(here, "kmeans", file="w.mat")
    assert "3 words taken from data/raw/weights/w.mat" in run("kmeans_centroids", SET)
    run("init_model", SET)
    model = read_model(MODEL)
    np.testing.assert_array_equal(model.pool.centroids.detach(), words)
    edit_params(here, "kmeans", file="w.mat", clusters=8)
    said = refused("kmeans_centroids", SET)
    assert "w.mat has 3 words, but kmeans.clusters is 8: set it to 3" in said


def test_the_ports_words_set_the_layer_by_their_own_descriptors(here, run):
    draw = np.random.default_rng(1)
    words, own = (draw.normal(size=(n, 256)).astype(np.float32) for n in (3, 20))
    paths.WEIGHTS.mkdir()
    write_port_words(paths.WEIGHTS / "w.hdf5", Words(words, own))
    edit_params(here, "kmeans", file="w.hdf5")
    to_model(run)
    alpha = alpha_v1(torch.from_numpy(words), torch.from_numpy(own))
    assert read_history(MODEL)["alpha"] == pytest.approx(alpha)


def test_a_network_from_elsewhere_is_loaded_evaluated_and_trained_further(here, run):
    torch.manual_seed(1)
    given = PlaceModel(Architecture("alexnet", "conv5", PoolSettings(), 3, whitening=5))
    paths.WEIGHTS.mkdir()
    write_model(paths.WEIGHTS / "m", given, {"epoch": 4})
    edit_params(here, "networks", theirs={"file": "m"}, bare={"file": "m", "whitening": "drop"})
    run("parse_mat", SET)
    said = run("load_model", "theirs")
    assert "theirs: taken from data/raw/weights/m, a model of vprlib: alexnet (conv5)" in said
    assert read_history(paths.model("theirs")) == {"epoch": 4, "file": "m"}
    run("load_model", "bare")
    assert read_model(paths.model("bare")).dim == 768
    run("train", SET, SET, "theirs")
    trained = read_model(paths.model("trained"))
    assert torch.equal(trained.whitening.weight, given.whitening.weight)  # frozen
    assert not torch.equal(trained.pool.centroids, given.pool.centroids)
    run("extract_db", SET, "trained")
    with h5py.File(paths.descriptors(SET, "trained", "full", "db")) as file:
        assert file["descriptors"].shape == (12, 5)


def test_a_network_that_is_not_there_is_one_sentence(here, refused):
    toy.write_set(here / "data/raw", "toy_val")
    edit_params(here, "networks", theirs={"file": "none.pth.tar"})
    said = refused("check_switches")
    assert "data/raw/weights/none.pth.tar is missing: put or link the network's file there" in said
    assert "none.pth.tar cannot be read (no such file" in refused("load_model", "theirs")


def test_a_truncated_mat_is_named(here, refused):
    MAT.write_bytes(MAT.read_bytes()[:400])
    assert "toy_train.mat cannot be read as a .mat file" in refused("parse_mat", SET)


def test_missing_images_are_counted_and_named(here, refused):
    for path in sorted((here / "data/raw/toy/000").glob("*.jpg")):
        path.unlink()
    said = refused("parse_mat", SET)
    assert "2 of 12 database images and 0 of 6 query images are missing below data/raw/toy" in said
    assert ": 000/toy_train_000.jpg, 000/toy_train_001.jpg; artifacts/reports/toy_train_" in said
    report = here / "artifacts/reports/toy_train_missing.txt"
    assert report.read_text() == "000/toy_train_000.jpg\n000/toy_train_001.jpg\n"


def test_images_that_cannot_be_used_are_named(here, refused):
    path = here / "data/raw/toy/002/toy_train_004.jpg"
    path.write_bytes(path.read_bytes()[:1200])
    said = refused("parse_mat", SET)
    assert (
        "1 of 12 images below data/raw/toy cannot be used: 002/toy_train_004.jpg is trunc" in said
    )


def test_a_loss_that_is_no_number_stops_and_keeps_the_state(here, run, refused, monkeypatch):
    to_model(run)
    edit_params(here, "train", margin=4.0)  # everything violates it
    monkeypatch.setattr(gradients, "triplet_loss", lambda *a: a[0].sum() * float("nan"))
    said = refused("train", *TRAIN)
    assert "the loss became nan in epoch 1, step 1" in said
    assert list(paths.SCRATCH.glob("train-*/state.pt"))


def test_a_block_in_which_nothing_violates_the_margin_is_no_error(here, run):
    to_model(run)
    edit_params(here, "train", margin=1e-12, negative_radius_m=100.0)
    run("train", *TRAIN)
    first = (paths.TRAIN_LOG).read_text().splitlines()[2].split(",")
    assert (float(first[1]), float(first[3])) == (0.0, 0.0)  # loss and share of violating


def test_imagenet_weights_without_a_network_name_the_place_for_the_file(
    here, run, refused, monkeypatch
):
    run("parse_mat", SET)
    edit_params(here, "model.backbone", weights="imagenet")
    entry = torchvision.models.AlexNet_Weights

    def offline(self, **options):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(entry, "get_state_dict", offline)
    said = refused("sample_features", SET)
    assert "put it at data/raw/weights/alexnet-owt-7be5be79.pth" in said


def test_a_set_in_use_without_its_specification_is_refused_before_anything_runs(here, refused):
    said = refused("check_switches")  # toy_val has none
    assert "data/raw/toy/datasets/toy_val.mat is missing, though data/raw/toy is there: put" in said


def test_switches_that_agree_are_said_to_agree(here, run):
    toy.write_set(here / "data/raw", "toy_val")
    assert "train on toy_train, evaluate on toy_val" in run("check_switches")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"train_on": ["toy"]}, "train_on names 'toy'; did you mean"),
        ({"validate_on": "toy_test"}, "validate_on names 'toy_test'; did you mean 'toy_train'?"),
        ({"eval_on": []}, "eval_on should have at least one entry"),
        ({"variants": ["train"]}, "variants names 'train'; did you mean 'trained'?"),
        ({"start": "theirs"}, "start names 'theirs'"),
        ({"networks": {"trained": {"file": "m"}}}, "networks names 'trained', but train_on"),
        (
            {"calibrate_on": "toy_train"},
            "calibrate_on is 'toy_train', but should be one of eval_on",
        ),
        ({"codes": ["w129"]}, "codes names 'w129'; did you mean 'w128'?"),
        ({"fitted": ["w128"]}, "fitted is [w128], but should be []"),
        ({"fit_on": ["toy_train"]}, "fit_on is [toy_train], but fitted is []: set it to []"),
    ],
)
def test_switches_that_contradict_each_other_are_refused(here, refused, changes, problem):
    toy.write_set(here / "data/raw", "toy_val")
    edit_params(here, "", **changes)
    assert problem in refused("check_switches")


def test_a_network_from_elsewhere_needs_no_training_set(here, run):
    toy.write_set(here / "data/raw", "toy_val")
    paths.WEIGHTS.mkdir()
    (paths.WEIGHTS / "m").touch()
    networks = {"theirs": {"file": "m"}}
    edit_params(here, "", networks=networks, init_on=[], train_on=[], variants=["theirs"])
    assert run("check_switches") == "switches: evaluate on toy_val\n"


@pytest.mark.parametrize("radius_m", [0, -30, float("inf")])
def test_a_radius_that_is_no_length_is_refused(here, refused, radius_m):
    edit_params(here, "datasets.toy_train", radius_m=radius_m)
    assert "datasets.toy_train.radius_m is" in refused("recall", *FULL)


def test_references_train_against_themselves(here, run):
    to_model(run)
    tree = toy.params()
    berlin = yaml.safe_load((toy.ROOT / "presets/berlin.yaml").read_text())["train"]
    tree["train"] |= berlin | {"epochs": 1, "first_layer": "conv5", "positive_radius_m": 10.0}
    toy.write_params(here, tree)
    said = run("train", *TRAIN)
    assert "0 queries without a possible triplet left out" in said
    summary = json.loads((paths.TRAIN_METRICS).read_text())
    assert summary["queries"] == 12 and 0 <= summary["val_start"]["rank_loss"] < 1
    header, start, first = (paths.TRAIN_LOG).read_text().splitlines()
    assert header.endswith(",recall@20,rank_loss") and float(start.rpartition(",")[2]) >= 0
    assert first.split(",")[3] == ""  # nothing is mined, so no share of it violates


def test_images_too_small_for_the_network_are_said(here, run, refused):
    run("parse_mat", SET)
    edit_params(here, "datasets.toy_train.images", resize=16)
    assert "images of 20×16 pixels are too small for the network" in refused("sample_features", SET)


def test_photographs_of_all_kinds_and_sizes_are_described(here, run):
    from PIL import Image

    folder = here / "data/raw/toy"
    kinds = {"000/toy_train_000.jpg": "L", "000/toy_train_001.jpg": "CMYK"}
    for name, mode in kinds.items():
        Image.open(folder / name).convert(mode).save(folder / name)
    for name, mode in (("001/toy_train_002.jpg", "P"), ("001/toy_train_003.jpg", "RGBA")):
        Image.open(folder / name).convert(mode).save(folder / name, format="PNG")
    Image.open(folder / "002/toy_train_004.jpg").resize((64, 80)).save(
        folder / "002/toy_train_004.jpg"
    )
    to_model(run)
    run("extract_db", *EXTRACT)
    with h5py.File(VECTORS["db"]) as file:
        norms = np.linalg.norm(file["descriptors"][:], axis=1)
    assert norms == pytest.approx(np.ones(12), abs=1e-5)


def test_a_whitened_code_is_fitted_encoded_and_searched(here, run):
    use_codes(here, run, ["full", "w4"])
    to_model(run)
    describe_sides(run)
    said = run("extract_train", *EXTRACT)
    assert "toy_train, off_the_shelf: 12 of 12 database images: 12 descriptors of 768" in said
    said = run("fit_whitening", VARIANT)
    assert "11 of 768 dimensions hold 100.0% of the variance of 12 descriptors of toy_train" in said
    with h5py.File(paths.whitening(VARIANT)) as file:
        assert (file.attrs["set"], file.attrs["variant"]) == ("toy_train", "off_the_shelf")
    assert "w4: db 12 × 16 bytes, queries 6 × 16 bytes" in fit_and_encode(run, "w4")
    search_and_recall(run, "w4")
    names = (SET, VARIANT, "w4")
    with (
        h5py.File(paths.predictions(*names)) as file,
        h5py.File(paths.descriptors(*names, "db")) as database,
        h5py.File(paths.descriptors(*names, "queries")) as queries,
    ):
        products = queries["descriptors"][:] @ database["descriptors"][:].T
        assert file.attrs["code"] == "w4"
        np.testing.assert_array_equal(file["indices"][:, 0], products.argmax(axis=1))


def test_the_training_sample_is_what_extract_db_says_of_its_images(here, run):
    use_codes(here, run, ["w4"], descriptors=5)
    to_model(run)
    run("extract_db", *EXTRACT)
    assert "5 of 12 database images" in run("extract_train", *EXTRACT)
    with h5py.File(VECTORS["db"]) as file, h5py.File(paths.fit_sample(VARIANT)) as sample:
        rows = sample["image_rows"][:]
        assert len(set(rows.tolist())) == 5
        np.testing.assert_allclose(
            sample["descriptors"][:], file["descriptors"][:][rows], atol=1e-5
        )


def test_the_stages_of_a_code_run_twice_write_the_same_bytes(here, run):
    use_codes(here, run, ["w4"])
    to_model(run)
    describe_sides(run)
    outputs = []
    for _ in range(2):
        run("extract_train", *EXTRACT)
        run("fit_whitening", VARIANT)
        fit_and_encode(run, "w4")
        run("search", SET, VARIANT, "w4")
        made = [*here.glob("artifacts/fit/*/*"), *here.glob("artifacts/*/*/*/w4/*")]
        made += [paths.coder(VARIANT, "w4"), paths.neighbors(SET, VARIANT, "w4")]
        outputs.append({path: path.read_bytes() for path in made})
    assert outputs[0] == outputs[1] and len(made) == 6


def test_more_whitened_dimensions_than_are_kept_are_refused_at_once(here, refused):
    toy.write_set(here / "data/raw", "toy_val")
    tree = toy.params() | {"codes": ["w128"], "fitted": ["w128"], "fit_on": [SET]}
    tree["whitening"]["dimensions"] = 64
    toy.write_params(here, tree)
    said = refused("check_switches")
    assert "code_defs.w128.keep.whiten is 128, but whitening.dimensions keeps 64 at most" in said


@pytest.mark.parametrize(
    ("variant", "longest"),
    [("trained", 768), ("narrow", 384), ("narrower", 192)],  # AlexNet's 256 channels, 3 words
)
def test_more_whitened_dimensions_than_a_descriptor_has_are_refused_at_once(
    here, run, refused, variant, longest
):
    toy.write_set(here / "data/raw", "toy_val")
    tree = toy.params() | {"codes": ["longest"], "fitted": ["longest"], "fit_on": [SET]}
    tree["variants"] = ["off_the_shelf", variant]
    half = {"prune": {"fraction": 0.5, "by": "magnitude"}}
    tree["variant_defs"] = {"narrow": [half], "narrower": [half]}
    made_of = {"narrow": "trained", "narrower": "narrow"}
    tree["derived"] = {n: of for n, of in made_of.items() if variant in (n, "narrower")}
    for dimensions in (longest, longest + 1):
        tree["code_defs"]["longest"] = toy.code(dimensions)
        toy.write_params(here, tree)
        if dimensions == longest:
            run("check_switches")
    said = refused("check_switches")
    named = "off_the_shelf" if variant == "trained" else variant
    assert (
        f"code_defs.longest.keep.whiten is {longest + 1}, but a descriptor of {named} has" in said
    )
    assert f"has only {longest} dimensions: lower it, or use another code." in said


@pytest.mark.parametrize(
    ("place", "change", "problem"),
    [
        ("whitening", {"descriptors": True}, "whitening.descriptors is True"),
        ("whitening", {"dimensions": 0}, "whitening.dimensions is 0"),
        ("whitening", {"dimension": 8}, "whitening has no 'dimension'; did you mean 'dimensions'?"),
        ("code_defs.w128.keep", {"whiten": 0}, "code_defs.w128.keep.whiten is 0"),
        ("code_defs.w128.keep", {"whitens": 4}, "code_defs.w128.keep has no 'whitens'"),
        ("code_defs.w128.keep", {"precision": "int4"}, "w128.keep.precision is 'int4': input"),
        ("code_defs.w128.keep", {"precision": "pq"}, "w128.keep: bytes belong to precision pq"),
        ("code_defs.w128.keep", {"bytes": 64}, "w128.keep: bytes belong to precision pq"),
        (
            "code_defs.w128.keep",
            {"precision": "pq", "bytes": 100},
            "code_defs.w128.keep: whiten must be a multiple of 100; it is 128.",
        ),
        (
            "code_defs.w128.keep",
            {"whiten": 12, "precision": "binary"},
            "code_defs.w128.keep: whiten must be a multiple of 8; it is 12.",
        ),
        ("code_defs.full.keep", {"precision": "binary"}, "full.keep: precision binary needs"),
        ("code_defs.full.keep", {"matrix": {"numbers": "int8"}}, "full.keep: matrix says how"),
        ("code_defs.w128.keep", {"query": "coded"}, "but precision float32 codes nothing"),
        ("code_defs.w128.keep", {"matrix": {"rank": 8}}, "matrix.rank and matrix.of need"),
        ("code_defs.w128.keep", {"matrix": {"rank": 8, "of": 8}}, "matrix.rank must be below"),
        ("code_defs.w128.keep", {"matrix": {"ranks": 8}}, "matrix has no 'ranks'; did you mean"),
    ],
)
def test_settings_of_codes_that_cannot_be_are_refused(here, refused, place, change, problem):
    edit_params(here, place, **change)
    assert problem in refused("check_switches")


def use_index(here, factory="IVF2,Flat", parameters="nprobe=1", protocol="plain", drift=None):
    tree = toy.params() | {"codes": ["ivf"], "fitted": ["ivf"], "fit_on": [SET]}
    index = {"factory": factory, "train": 100, "seed": 1, "drift": drift}
    how = {"parameters": parameters, "refine": 1}
    tree["code_defs"]["ivf"] = toy.code(None, index=index, search=how)
    tree["datasets"]["toy_train"]["protocol"] = protocol
    toy.write_params(here, tree)


def describe_and_index(here, run, **how):
    """Random descriptors, and an index over them."""
    run("parse_mat", SET)
    describe_by_chance()
    use_index(here, **how)
    artifacts.write_hdf5(
        paths.coder(VARIANT, "ivf"), {}, {"precision": "float32", "query": "float32"}
    )
    return run("encode", SET, VARIANT, "ivf")


def test_a_search_asks_the_index_of_the_code(here, run):
    assert "ivf: db 12 × 16 bytes, queries 6 × 16 bytes, IVF2,Flat of 12" in (
        describe_and_index(here, run)
    )
    found = {}
    for code, parameters in (("full", "nprobe=1"), ("ivf", "nprobe=1"), ("all", "nprobe=2")):
        use_index(here, parameters=parameters)
        code = code if code == "full" else "ivf"
        search_and_recall(run, code)
        with h5py.File(paths.predictions(SET, VARIANT, code)) as file:
            found[parameters if code == "ivf" else code] = file["indices"][:]
            assert (np.isinf(file["distances"][:]) == (file["indices"][:] < 0)).all()
    assert (found["nprobe=1"] < 0).any()
    np.testing.assert_array_equal(found["nprobe=2"], found["full"])


def test_an_index_that_may_drift_is_trained_once_for_descriptors_of_one_network(here, run):
    assert "trained" not in describe_and_index(here, run, drift=0.5)
    assert "not trained anew: 12 descriptors for 12 then" in (
        describe_and_index(here, run, drift=0.5)
    )
    with h5py.File(paths.descriptors(SET, VARIANT, "full", "db"), "r+") as file:
        file.attrs["network"] = "another"
    assert "trained" not in run("encode", SET, VARIANT, "ivf")


def test_a_whole_ranking_cannot_be_had_from_an_index(here, run, refused):
    describe_and_index(here, run, protocol="ranked")
    run("search", SET, VARIANT, "ivf")
    said = refused("recall", SET, VARIANT, "ivf")
    assert "protocol ranked needs the whole database in order" in said


def test_too_few_neighbors_for_a_protocol_are_named(here, run, refused):
    run("parse_mat", SET)
    describe_by_chance()
    tree = toy.params()
    tree["search"]["neighbors"] = 3
    toy.write_params(here, tree)
    run("search", *FULL)
    said = refused("recall", *FULL)
    assert "plain needs 12 neighbors of each query, but search.neighbors gave 3: set it to" in said
    tree["search"]["neighbors"] = "all"
    toy.write_params(here, tree)
    search_and_recall(run)


def test_another_n_or_radius_needs_no_search(here, run):
    run("parse_mat", SET)
    describe_by_chance()
    search_and_recall(run)
    first = paths.result_metrics("recall", *FULL).read_text()
    for path in VECTORS.values():
        assert path.exists()
    edit_params(here, "datasets.toy_train", radius_m=40.0)
    run("recall", *FULL)
    assert paths.result_metrics("recall", *FULL).read_text() != first


def test_an_index_that_cannot_be_is_refused_before_anything_runs(here, refused):
    use_index(here, "IVX2", "")
    said = refused("check_switches")
    assert "code_defs.ivf.index.factory is 'IVX2', and Faiss cannot make" in said


@pytest.mark.parametrize("stage", ["parse_mat", "extract_db", "sample_features", "audit"])
def test_a_folder_outside_the_data_is_read_by_no_stage(here, run, refused, stage):
    run("parse_mat", SET)
    edit_params(here, f"datasets.{SET}", folder="../../outside")
    names = {"extract_db": EXTRACT, "audit": (SET, SET, SET)}.get(stage, (SET,))
    assert "folder: '../../outside' leaves its folder: name a file" in refused(stage, *names)
