"""Exports a network, with a code's whitening, to ONNX: the command `vpr model export`."""

from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from vprlib.cli import options
from vprlib.cli.choice import SetParams, choose
from vprlib.images.batches import open_source
from vprlib.pipeline.artifacts import write_bytes

if TYPE_CHECKING:
    from vprlib.model.model import PlaceModel


def summary(model: "PlaceModel") -> str:
    """The network in a few words."""
    a = model.architecture
    pool = f"{a.pool.kind} {a.clusters}" if a.clusters else a.pool.kind
    return f"{a.backbone} to {a.cut}{' with fewer channels' if a.widths else ''}, {pool}"


def main(
    dataset: options.Dataset = None,
    variant: options.Variant = None,
    code: options.Code = None,
    images: Annotated[int, typer.Option(min=1, help="how many images to check it on")] = 16,
    out: options.OptionalOut = None,
) -> None:
    """Export a network as one ONNX file: image in, descriptor out.

    It includes the whitening of the code. The file is written only if its descriptors agree with
    PyTorch on images of the set. The default file is artifacts/onnx/<variant>-<code>.onnx.
    """
    import torch

    from vprlib.interop.onnx_export import Plain, check, check_exportable, difference, to_onnx
    from vprlib.interop.onnx_run import Exported, identity
    from vprlib.model.describe import network_output
    from vprlib.model.model import read_model

    choice = choose(dataset, variant, code)
    p = SetParams.load(dataset=choice.dataset)
    target, cores = out or choice.onnx_path, p.runtime.cores
    torch.set_num_threads(cores)
    model = read_model(choice.model_path)
    check_exportable(model, choice.model_path)
    whitening = choice.read_code()
    files = (choice.variant, choice.model_path, choice.code, choice.coder_path)
    about = identity(*files, p.images, summary(model), whitening.dim(model.dim))
    source = open_source(choice.index_path, p.image_dir, p.images)
    last = len(source.index) - 1
    evenly = np.unique(np.linspace(0, last, min(images, last + 1)).round().astype(int))
    pictures = [source.pixels(int(row)) for row in evenly]
    network = Plain(model, choice.whitening())

    @torch.no_grad()
    def described(pixels: np.ndarray) -> np.ndarray:
        """As the pipeline does it, by PyTorch on the CPU."""
        return whitening.apply(network_output(model, torch.from_numpy(pixels)).numpy())

    content, any_size = to_onnx(network, pictures[0], about, model.architecture.takes_any_size)
    found = difference(Exported(content, cores), described, pictures, any_size)
    check(found, len(pictures), target)
    write_bytes(target, content)
    height, width = pictures[0].shape[:2]
    size = "images of any size" if any_size else f"images of {width}×{height} pixels only"
    typer.echo(
        f"{target}: {about.architecture}, {choice.code}, {about.dim} dimensions of {size},"
        f" {len(content):,} bytes; differs from PyTorch by {found:.1e} on {len(pictures)} images"
    )
