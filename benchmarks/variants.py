"""Measures int8 and pruning against the fastest float32: `python -m benchmarks.variants`."""

import copy
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.nn.functional as F
import typer
from PIL import Image
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from vprlib.cli.costs import timed
from vprlib.compress.pruning import by_magnitude, without_channels
from vprlib.compress.quantising import quantised, rehearse
from vprlib.interop.onnx_export import Plain
from vprlib.model.backbones import fill_at_random
from vprlib.model.model import Architecture, PlaceModel, read_model, write_model
from vprlib.model.precision import placed
from vprlib.model.settings import PoolSettings
from vprlib.pipeline.params import UserError
from vprlib.pipeline.runtime import processor_name

CPU = torch.device("cpu")
# before each way's turn: threads of ONNX Runtime keep the processors busy for a while after theirs;
# a first call that does not count wakes the others, and the first time rearranges weights
REST_S = 0.1
TURN_S = 0.3  # of calls, at least one: so long it takes until threads share no processor
FLOATS = ("ours", "onnxruntime")
Call = Callable[[Tensor], object]


@dataclass(frozen=True)
class Case:
    name: str
    architecture: Architecture
    height: int
    width: int


CASES = (
    Case("VGG16 480×640", Architecture("vgg16", "conv5_3", PoolSettings(), 64), 480, 640),
    Case("city 120×160", Architecture("alexnet", "conv5", PoolSettings(), 16), 120, 160),
)


def main(
    json_path: Path | None = typer.Option(None, "--json", help="also write all figures there"),
    threads: int | None = typer.Option(None, help="default: all processors of this process"),
    repeats: int = typer.Option(5, min=1, help="turns of each way, of which the median counts"),
    batches: str = typer.Option("1,16", help="images at once"),
    only: str = typer.Option("", help="cases whose name has this in it"),
    fraction: float = typer.Option(0.3, help="of the channels, that are pruned"),
) -> None:
    """Prints milliseconds an image, by the median, and how many times as fast int8 is."""
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads, {processor()}")
    rows = []
    for case in CASES:
        if only in case.name:
            for row in measure(case, [int(n) for n in batches.split(",")], repeats, fraction):
                rows.append(row)
                print(sentence(row), flush=True)
    if json_path is not None:
        about = {"torch": torch.__version__, "threads": torch.get_num_threads()}
        json_path.write_text(json.dumps({**about, "cpu": processor(), "rows": rows}, indent=2))


def measure(
    case: Case, batches: Sequence[int], repeats: int, fraction: float
) -> list[dict[str, object]]:
    """A row a batch size; every way takes its turn in each round."""
    model = placed(network(case.architecture), CPU)
    integers = quantised(model, rehearse(model, lambda: [pictures(2, case)]))
    narrow = pruned(model, fraction)
    sizes = {"float32": file_bytes(model), "int8": file_bytes(integers)}
    calls = {"ours": model, "int8": integers}
    if narrow is not None:
        sizes["pruned"] = file_bytes(narrow)
        calls["pruned"] = placed(narrow, CPU)
    found = []
    with TemporaryDirectory() as folder, torch.no_grad():
        calls |= by_onnxruntime(model, case, Path(folder))
        cosine = F.cosine_similarity(integers(pictures(2, case)), model(pictures(2, case)))
        for batch in batches:
            taken = {name: [] for name in calls}
            images = pictures(batch, case)
            for _ in range(repeats):
                for name, call in calls.items():
                    time.sleep(REST_S)
                    taken[name].append(timed(partial(call, images), TURN_S, runs=1))
            ms = {name: 1000 * statistics.median(s) / batch for name, s in taken.items()}
            fastest = min((name for name in FLOATS if name in ms), key=ms.get)
            found.append(
                {
                    "case": case.name,
                    "batch": batch,
                    "ms_per_image": ms,
                    "fastest_float32": fastest,
                    "times_as_fast": ratio(taken[fastest], taken["int8"]),
                    "pruned_latency": None
                    if narrow is None
                    else ratio(taken["pruned"], taken["ours"]),
                    "file_ratio": {k: v / sizes["float32"] for k, v in sizes.items()},
                    "float_convolutions": float_convolutions(integers, images[:1]),
                    "least_cosine": float(cosine.min()),
                }
            )
    return found


def ratio(first: Sequence[float], second: Sequence[float]) -> float:
    """The median over rounds: a shared machine may be half as fast in one as in the next."""
    return statistics.median(one / other for one, other in zip(first, second, strict=True))


def sentence(row: dict[str, object]) -> str:
    ways = ", ".join(f"{name} {ms:.1f}" for name, ms in row["ms_per_image"].items())
    narrow = row["pruned_latency"]
    files = ", ".join(f"{k} {v:.3f}" for k, v in row["file_ratio"].items() if k != "float32")
    return (
        f"{row['case']}, batch {row['batch']}: ms an image: {ways};"
        f" int8 {row['times_as_fast']:.2f} times as fast as {row['fastest_float32']}"
        + (f", pruned takes {narrow:.2f} of ours" if narrow else "")
        + f"; file of the full: {files}; {row['float_convolutions']} float convolutions in int8;"
        f" cosine {row['least_cosine']:.4f} at least"
    )


def network(architecture: Architecture) -> PlaceModel:
    """With random weights: what they are does not change how long it takes."""
    model = PlaceModel(architecture)
    fill_at_random(model.backbone, 1)
    generator = torch.Generator().manual_seed(1)
    for weight in (model.pool.centroids, model.pool.conv.weight):
        weight.data = torch.randn(weight.shape, generator=generator)
    return model


def pictures(count: int, case: Case) -> Tensor:
    """Smooth colours with noise, uint8 [B, H, W, 3]."""
    generator = np.random.default_rng(1)
    found = []
    for _ in range(count):
        coarse = generator.integers(0, 256, (8, 10, 3), dtype=np.uint8)
        smooth = Image.fromarray(coarse).resize((case.width, case.height), Image.Resampling.BICUBIC)
        noise = generator.normal(0, 8, (case.height, case.width, 3))
        found.append((np.asarray(smooth) + noise).clip(0, 255).astype(np.uint8))
    return torch.from_numpy(np.stack(found))


def pruned(model: PlaceModel, fraction: float) -> PlaceModel | None:
    try:
        return without_channels(model, fraction, by_magnitude(model))
    except UserError as error:
        print(f"not measured: {error}")
        return None


def by_onnxruntime(model: PlaceModel, case: Case, folder: Path) -> dict[str, Call]:
    """The same network in ONNX Runtime's float32, where that is installed."""
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  # PyTorch exports by it
    except ImportError:
        print("onnxruntime and onnxscript are not installed: measured without them")
        return {}
    plain = Plain(copy.deepcopy(model), {})
    images = pictures(2, case)
    dynamic = ({0: torch.export.Dim("batch")},)
    path = folder / "model.onnx"
    torch.onnx.export(plain, (images,), path, dynamo=True, dynamic_shapes=dynamic, verbose=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def call(images: Tensor) -> np.ndarray:
        return session.run(None, {name: images.numpy()})[0]

    np.testing.assert_allclose(call(images), model(images).numpy(), atol=1e-4)
    return {"onnxruntime": call}


def file_bytes(model: PlaceModel) -> int:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        write_model(path, model, {})
        read_model(path)
        return path.stat().st_size


class Counting(TorchDispatchMode):
    """Counts the float convolutions that are really called."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self,
        function: Callable[..., object],
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        self.count += "aten::" in function.name() and "conv" in function.name()
        return function(*args, **(kwargs or {}))


def float_convolutions(model: PlaceModel, images: Tensor) -> int:
    with Counting() as counting:
        model(images)
    return counting.count


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = next((line for line in lines if line.startswith("flags")), "")
    known = [flag for flag in ("avx2", "avx512_vnni", "avx_vnni", "amx_int8") if flag in flags]
    return f"{processor_name()} ({', '.join(known)})"


if __name__ == "__main__":
    typer.run(main)
