"""Every path of the pipeline, from the project's folder; dvc.yaml names the same ones."""

from pathlib import Path
from typing import Literal

from vprlib.pipeline.params import PARAMS_PATH, UserError

Side = Literal["db", "queries"]

RAW = Path("data/raw")  # images, drawn or linked; a data set's `folder` lies here
WEIGHTS = RAW / "weights"  # networks from elsewhere
SWITCHES = Path("data/index/switches.txt")
SAMPLE = Path("artifacts/features/sample.h5")
CENTROIDS = Path("artifacts/features/centroids.h5")
TRAIN_METRICS = Path("metrics/train.json")
TRAIN_LOG = Path("metrics/train.csv")
TRAIN_PLOT = Path("artifacts/plots/train.png")
# not tracked by DVC
SCRATCH = Path("artifacts/.scratch")  # what an interrupted stage goes on from
TIMES = Path("artifacts/.times")  # seconds of each stage's last run
CACHE = Path("artifacts/.cache")  # outputs of frozen layers
TENSORBOARD = Path("artifacts/tensorboard")
REPORTS = Path("artifacts/reports")  # lists of images that could not be read
PAGE = Path("artifacts/report")  # the page of `vpr report`


def metrics(kind: Literal["sets", "audit", "variants", "photos"], name: str) -> Path:
    """Of a data set, or of a variant."""
    return Path(f"metrics/{kind}/{name}.json")


def result_metrics(
    kind: Literal["recall", "failures", "confidence", "rerank"],
    dataset: str,
    variant: str,
    code: str,
) -> Path:
    return Path(f"metrics/{kind}/{dataset}/{variant}-{code}.json")


def photo_list(dataset: str) -> Path:
    """What list_photos found in the folders of a set."""
    return RAW / dataset / "list.csv"


def photo_words(dataset: str) -> Path:
    """The photographs that the visual words come from; a set that grows keeps them."""
    return RAW / dataset / "words.csv"


def index(dataset: str, side: Side) -> Path:
    """What parse_mat read of one side of a set."""
    return Path(f"data/index/{dataset}/{side}.h5")


def fingerprints(dataset: str) -> Path:
    return Path(f"data/index/{dataset}/fingerprints.h5")


def model(variant: str) -> Path:
    return Path(f"artifacts/models/{variant}.safetensors")


def fit_sample(variant: str) -> Path:
    """Descriptors of training images that codes are fitted on."""
    return Path(f"artifacts/fit/{variant}/sample.h5")


def whitening(variant: str) -> Path:
    return Path(f"artifacts/fit/{variant}/whitening.h5")


def coder(variant: str, code: str) -> Path:
    """What turns descriptors into a code; the code `full` has none."""
    return Path(f"artifacts/coders/{variant}/{code}.h5")


def descriptors_dir(dataset: str, variant: str, code: str) -> Path:
    """The folder of both sides of a set in one code, and of its search index if it has one."""
    return Path(f"artifacts/descriptors/{dataset}/{variant}/{code}")


def descriptors(dataset: str, variant: str, code: str, side: Side) -> Path:
    return descriptors_dir(dataset, variant, code) / f"{side}.h5"


def search_index(dataset: str, variant: str, code: str) -> Path:
    return descriptors_dir(dataset, variant, code) / "index"


def neighbors(dataset: str, variant: str, code: str) -> Path:
    """What search found, before a protocol takes anything out."""
    return Path(f"artifacts/neighbors/{dataset}/{variant}-{code}.h5")


def predictions(dataset: str, variant: str, code: str) -> Path:
    """What recall kept of the neighbors, and which of them are right."""
    return Path(f"artifacts/predictions/{dataset}/{variant}-{code}.h5")


def keypoints(dataset: str) -> Path:
    """Local features of both sides, for a second look."""
    return Path(f"artifacts/keypoints/{dataset}.h5")


def reranked(dataset: str, variant: str, code: str) -> Path:
    """The predictions in the order of a second look."""
    return Path(f"artifacts/reranked/{dataset}/{variant}-{code}.h5")


def inlier_thresholds(dataset: str, variant: str, code: str) -> Path:
    """How many inliers an answer should have, by this set."""
    return Path(f"artifacts/calibration/inliers/{dataset}/{variant}-{code}.json")


def failures(dataset: str, variant: str, code: str, kind: Literal["csv", "geojson"]) -> Path:
    return Path(f"artifacts/failures/{dataset}/{variant}-{code}.{kind}")


def confidence_curve(dataset: str, variant: str, code: str) -> Path:
    return Path(f"artifacts/confidence/{dataset}/{variant}-{code}.csv")


def calibration(variant: str, code: str) -> Path:
    return Path(f"artifacts/calibration/{variant}-{code}.json")


def city_plot(part: str) -> Path:
    return Path(f"artifacts/plots/city_{part}.png")


def plot(dataset: str, variant: str, code: str, what: str = "") -> Path:
    """`what` is such as '-plan'; nothing for the recall curve."""
    return Path(f"artifacts/plots/{dataset}/{variant}-{code}{what}.png")


def onnx(variant: str, code: str) -> Path:
    return Path(f"artifacts/onnx/{variant}-{code}.onnx")


def existing(path: Path) -> Path:
    """The path, or a sentence that says which run would make it."""
    if not path.exists():
        raise UserError(
            f"{path} is missing: check that set, variant and code are in use in {PARAMS_PATH},"
            " and run `dvc repro`."
        )
    return path
