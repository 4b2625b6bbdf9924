"""Exports a network, and the whitening of a code, to ONNX: `python -m vprlib.cli.export`."""

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from vprlib.cli.find import choose
from vprlib.descriptors.codes import Code, read_arrays, read_code
from vprlib.images.batches import ImageSource, open_source
from vprlib.images.decode import ImageSettings
from vprlib.interop.onnx_export import Plain, check, check_exportable, difference, to_onnx
from vprlib.interop.onnx_run import Exported, identity
from vprlib.model.describe import network_output
from vprlib.model.model import PlaceModel, read_model
from vprlib.pipeline import command
from vprlib.pipeline.artifacts import write_bytes
from vprlib.pipeline.params import At, StageParams
from vprlib.pipeline.runtime import RuntimeSettings


class Params(StageParams):
    images: Annotated[ImageSettings, At("datasets.{dataset}.images")]
    folder: Annotated[str, At("sets.{dataset}.folder")]
    runtime: Annotated[RuntimeSettings, At("runtime")]


class Pipeline:
    """What the pipeline makes of images, on the CPU."""

    def __init__(self, model: PlaceModel, code: Code) -> None:
        self.model, self.code = model, code

    @torch.no_grad()
    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        described = network_output(self.model, torch.from_numpy(pixels))
        return self.code.apply(described.numpy())


def spread(source: ImageSource, count: int) -> list[np.ndarray]:
    """So many images of a set, evenly over its rows."""
    last = len(source.index) - 1
    rows = np.unique(np.linspace(0, last, min(count, last + 1)).round().astype(int))
    return [source.pixels(int(row)) for row in rows]


def words(model: PlaceModel) -> str:
    """The network in a few words."""
    a = model.architecture
    pool = f"{a.pool.kind} {a.clusters}" if a.clusters else a.pool.kind
    return f"{a.backbone} to {a.cut}{' with fewer channels' if a.widths else ''}, {pool}"


def main(
    dataset: str | None = typer.Option(None, "--set", help="whose images it is to take"),
    variant: str | None = typer.Option(None, help="default: trained, where it is evaluated"),
    code: str | None = typer.Option(None, help="whose whitening goes with it; default: the first"),
    images: int = typer.Option(16, min=1, help="how many of the set's it is checked on"),
    out: Path | None = typer.Option(None, help="default: artifacts/onnx/<variant>-<code>.onnx"),
) -> None:
    """Writes image in, descriptor out as one file, once it agrees with PyTorch."""
    choice = choose(dataset, variant, code)
    p = Params.load(dataset=choice.dataset)
    target, cores = out or choice.onnx_path, p.runtime.cores
    torch.set_num_threads(cores)
    model = read_model(choice.model_path)
    check_exportable(model, choice.model_path)
    kept = read_code(choice.coder_path)
    files = (choice.variant, choice.model_path, choice.code, choice.coder_path)
    told = identity(*files, p.images, words(model), kept.dim(model.dim))
    source = open_source(choice.index_path, Path("data/raw") / p.folder, p.images)
    pictures = spread(source, images)
    network = Plain(model, read_arrays(choice.coder_path))
    content, any_size = to_onnx(network, pictures[0], told)
    found = difference(Exported(content, cores), Pipeline(model, kept), pictures, any_size)
    check(found, len(pictures), target)
    write_bytes(target, content)
    height, width = pictures[0].shape[:2]
    size = "images of any size" if any_size else f"images of {width}×{height} pixels alone"
    typer.echo(
        f"{target}: {told.architecture}, {choice.code}, {told.dim} dimensions of {size},"
        f" {len(content):,} bytes; differs from PyTorch by {found:.1e} on {len(pictures)} images"
    )


if __name__ == "__main__":
    command.run(main)
