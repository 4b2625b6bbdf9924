"""Measures int8 and pruning against the fastest float32: `python -m benchmarks.variants`."""

import json
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
import typer
from PIL import Image
from torch import Tensor

from vprlib.compress.int8 import quantised
from vprlib.compress.pruning import by_magnitude, without_channels
from vprlib.compress.variants import Variant
from vprlib.model.backbones import fill_at_random
from vprlib.model.model import Architecture, PlaceModel
from vprlib.model.onnx.export import to_onnx
from vprlib.model.onnx.network import OnnxNetwork
from vprlib.model.onnx.session import INPUT, open_session
from vprlib.model.precision import placed
from vprlib.model.settings import PoolSettings
from vprlib.pipeline.params import UserError
from vprlib.pipeline.runtime import processor_name

CPU = torch.device("cpu")
# before each way's turn: threads of ONNX Runtime keep the processors busy for a while after theirs;
# a first call that does not count wakes the others, and the first time rearranges weights
REST_S = 0.1
TURN_S = 0.3  # of calls, at least one: so long it takes until threads share no processor
FLOATS = ("pytorch", "onnxruntime")
Call = Callable[[Tensor], object]


@dataclass(frozen=True)
class Case:
    name: str
    architecture: Architecture
    height: int
    width: int


HALF = (0.5, 0.5, 0.5)
LITE0 = Architecture("efficientnet_lite0", "expand5_0", PoolSettings(), 64, mean=HALF, std=HALF)
CASES = (
    Case("VGG16 480×640", Architecture("vgg16", "conv5_3", PoolSettings(), 64), 480, 640),
    Case("lite0 240×320", LITE0, 240, 320),
    Case("lite0 120×160", LITE0, 120, 160),
    Case("city_scratch 120×160", Architecture("alexnet", "conv5", PoolSettings(), 16), 120, 160),
)


def main(
    json_path: Path | None = typer.Option(None, "--json", help="also write all figures there"),
    threads: int | None = typer.Option(None, help="default: all processors of this process"),
    repeats: int = typer.Option(5, min=1, help="turns of each way, of which the median counts"),
    batches: str = typer.Option("1,16", help="images at once"),
    only: str = typer.Option("", help="cases whose name has this in it"),
    fraction: float = typer.Option(0.3, help="of the channels, that are pruned"),
    is_busy: bool = typer.Option(
        False, "--busy", help="count processor time on one thread: for a machine with other work"
    ),
) -> None:
    """Prints milliseconds an image, by the median, and how many times as fast the others are."""
    torch.set_num_threads(1 if is_busy else threads or len(os.sched_getaffinity(0)))
    clock = time.process_time if is_busy else time.perf_counter
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads, {processor()}")
    rows = []
    for case in CASES:
        if only in case.name:
            for row in measure(
                case, [int(n) for n in batches.split(",")], repeats, fraction, clock
            ):
                rows.append(row)
                print(sentence(row), flush=True)
    if json_path is not None:
        about = {"torch": torch.__version__, "threads": torch.get_num_threads()}
        json_path.write_text(json.dumps({**about, "cpu": processor(), "rows": rows}, indent=2))


def measure(
    case: Case,
    batches: Sequence[int],
    repeats: int,
    fraction: float,
    clock: Callable[[], float] = time.perf_counter,
) -> list[dict[str, object]]:
    """A row a batch size; every way takes its turn in each round."""
    threads = torch.get_num_threads()
    model = placed(network(case.architecture), CPU)
    content = to_onnx(model, pictures(1, case).numpy()[0], case.architecture.takes_any_size)[0]
    integers = quantised(model, lambda: [pictures(2, case).numpy()], threads)
    narrow = pruned(model, fraction)
    calls: dict[str, Call] = {"pytorch": model, "onnxruntime": by_onnxruntime(content, threads)}
    calls |= {"int8": integers} | ({} if narrow is None else {"pruned": placed(narrow, CPU)})
    found = []
    with torch.no_grad():
        given = pictures(2, case)
        np.testing.assert_allclose(calls["onnxruntime"](given), model(given).numpy(), atol=1e-4)
        cosine = F.cosine_similarity(integers(given), model(given))
        for batch in batches:
            taken = {name: [] for name in calls}
            images = pictures(batch, case)
            for _ in range(repeats):
                for name, call in calls.items():
                    time.sleep(REST_S)
                    taken[name].append(turn(partial(call, images), clock))
            ms = {name: 1000 * statistics.median(s) / batch for name, s in taken.items()}
            fastest = min(FLOATS, key=ms.__getitem__)
            found.append(
                {
                    "case": case.name,
                    "batch": batch,
                    "ms_per_image": ms,
                    "fastest_float32": fastest,
                    "times_as_fast": {
                        name: ratio(taken[fastest], seconds)
                        for name, seconds in taken.items()
                        if name not in FLOATS
                    },
                    "file_ratio": file_bytes(integers) / file_bytes(model),
                    "convolutions": convolutions(integers.content),
                    "least_cosine": float(cosine.min()),
                }
            )
    return found


def turn(call: Callable[[], object], clock: Callable[[], float]) -> float:
    """The median seconds of calls, after one that does not count."""
    call()
    seconds: list[float] = []
    while sum(seconds) < TURN_S:
        start = clock()
        call()
        seconds.append(clock() - start)
    return statistics.median(seconds)


def file_bytes(network: PlaceModel | OnnxNetwork) -> int:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        Variant(network).write(path, "it")
        return path.stat().st_size


def ratio(first: Sequence[float], second: Sequence[float]) -> float:
    """The median over rounds: a shared machine may be half as fast in one as in the next."""
    return statistics.median(one / other for one, other in zip(first, second, strict=True))


def sentence(row: dict[str, object]) -> str:
    ways = ", ".join(f"{name} {ms:.2f}" for name, ms in row["ms_per_image"].items())
    times = ", ".join(f"{name} {ratio:.2f}" for name, ratio in row["times_as_fast"].items())
    return (
        f"{row['case']}, batch {row['batch']}: ms an image: {ways}; times as fast as"
        f" {row['fastest_float32']}: {times}; int8 file {row['file_ratio']:.3f} of the full,"
        f" {row['convolutions']}, cosine {row['least_cosine']:.4f} at least"
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


def by_onnxruntime(content: bytes, threads: int) -> Call:
    """The same network in ONNX Runtime's float32."""
    session = open_session(content, threads, "the benchmark")
    return lambda images: session.run(None, {INPUT: images.numpy()})[0]


def convolutions(content: bytes) -> str:
    """How many compute in int8 as ONNX Runtime runs them."""
    with TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
        options.log_severity_level = 4
        onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
        nodes = onnx.load(options.optimized_model_filepath).graph.node
    kinds = Counter(node.op_type for node in nodes if "Conv" in node.op_type)
    return f"{kinds['QLinearConv']} of {kinds.total()} convolutions in int8"


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = next((line for line in lines if line.startswith("flags")), "")
    known = [flag for flag in ("avx2", "avx512_vnni", "avx_vnni", "amx_int8") if flag in flags]
    return f"{processor_name()} ({', '.join(known)})"


if __name__ == "__main__":
    typer.run(main)
