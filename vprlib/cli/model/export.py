"""Exports a network, with a code's whitening, to ONNX: the command `vpr model export`."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from vprlib.cli import options
from vprlib.cli.choice import Choice, SetParams, choose
from vprlib.images.batches import open_source, plan_batches, stream
from vprlib.pipeline import paths
from vprlib.pipeline.artifacts import write_bytes
from vprlib.pipeline.params import PARAMS_PATH, At, Names, StageParams, UserError
from vprlib.pipeline.paths import existing

if TYPE_CHECKING:
    from vprlib.model.model import PlaceModel
    from vprlib.model.onnx.network import OnnxNetwork


class Training(StageParams):
    train_on: Annotated[Names, At("train_on")]


def summary(model: "PlaceModel | OnnxNetwork") -> str:
    """The network in a few words."""
    from vprlib.model.model import PlaceModel

    if not isinstance(model, PlaceModel):
        return "network in int8"
    a = model.architecture
    pool = f"{a.pool.kind} {a.clusters}" if a.clusters else a.pool.kind
    return f"{a.backbone} to {a.cut}{' with fewer channels' if a.widths else ''}, {pool}"


def main(
    dataset: options.Dataset = None,
    variant: options.Variant = None,
    code: options.Code = None,
    images: Annotated[int, typer.Option(min=1, help="how many images to check it on")] = 16,
    out: options.OptionalOut = None,
    int8: Annotated[bool, typer.Option("--int8", help="convolutions compute in int8")] = False,
) -> None:
    """Export a network as one ONNX file: image in, descriptor out.

    It includes the whitening of the code. The file is written only if its descriptors agree with
    the pipeline's on images of the set. The default file is artifacts/onnx/<variant>-<code>.onnx,
    and with --int8 <variant>-<code>-int8.onnx, which computes like the variant int8.
    """
    import torch

    from vprlib.interop import onnx_export
    from vprlib.interop.onnx_run import Exported, identity
    from vprlib.model.describe import network_output
    from vprlib.model.model import read_variant

    choice = choose(dataset, variant, code)
    p = SetParams.load(dataset=choice.dataset)
    target, cores = out or choice.onnx_path, p.runtime.cores
    if int8 and out is None:
        target = target.with_stem(f"{target.stem}-int8")
    torch.set_num_threads(cores)
    model = read_variant(choice.model_path)
    onnx_export.check_exportable(model, choice.model_path)
    whitening = choice.read_code()
    source = open_source(choice.index_path, p.image_dir, p.images)
    last = len(source.index) - 1
    evenly = np.unique(np.linspace(0, last, min(images, last + 1)).round().astype(int))
    pictures = [source.pixels(int(row)) for row in evenly]

    @torch.no_grad()
    def described(pixels: np.ndarray) -> np.ndarray:
        """As the pipeline does it, on the CPU."""
        return whitening.apply(network_output(model, torch.from_numpy(pixels)).numpy())

    content, any_size = _content(model, choice, int8, pictures[0], cores)
    files = (choice.variant, choice.model_path, choice.code, choice.coder_path)
    about = identity(*files, p.images, summary(model), whitening.dim(model.dim))
    content = onnx_export.with_identity(content, about)
    given = (Exported(content, cores), described, pictures, any_size)
    if int8:
        found = onnx_export.least_cosine(*given)
        onnx_export.check_cosine(found, len(pictures), target)
        told = f"cosine to the full network's at least {found:.3f}"
    else:
        found = onnx_export.difference(*given)
        onnx_export.check(found, len(pictures), target)
        told = f"differs from the pipeline's by {found:.1e}"
    write_bytes(target, content)
    height, width = pictures[0].shape[:2]
    size = "images of any size" if any_size else f"images of {width}×{height} pixels only"
    typer.echo(
        f"{target}: {about.architecture}, {choice.code}, {about.dim} dimensions of {size},"
        f" {len(content):,} bytes; {told} on {len(pictures)} images"
    )


def _content(
    model: "PlaceModel | OnnxNetwork", choice: Choice, int8: bool, image: np.ndarray, threads: int
) -> tuple[bytes, bool]:
    """The file, and whether it takes images of any size."""
    from vprlib.compress.int8 import check_quantisable, to_int8, with_small_whitening
    from vprlib.interop.onnx_export import Plain
    from vprlib.model.onnx.export import to_onnx
    from vprlib.model.onnx.network import OnnxNetwork

    whitening = choice.whitening()
    if isinstance(model, OnnxNetwork):
        if whitening:
            raise UserError(
                f"{choice.model_path} is in int8 already, without the whitening of {choice.code}:"
                " export the network that it was made from, with --int8."
            )
        return model.content, model.takes.size is None
    any_size = model.architecture.takes_any_size
    if not int8:
        return to_onnx(Plain(model, whitening), image, any_size)
    check_quantisable(model)
    network = Plain(with_small_whitening(model), whitening)
    content, size = to_int8(network, _training_images(), threads, any_size)
    return content, size is None


def _training_images() -> Callable[[], Iterator[np.ndarray]]:
    """Those that the variant int8 of the presets looks at."""
    from vprlib.compress.settings import USUAL
    from vprlib.pipeline.draws import choose_rows

    train_on = Training.load().train_on
    if not train_on:
        raise UserError(f"{PARAMS_PATH}: --int8 looks at training images: set train_on.")
    p = SetParams.load(dataset=train_on[0])
    source = open_source(existing(paths.index(train_on[0], "db")), p.image_dir, p.images)
    rows = choose_rows(len(source.index), USUAL.images, USUAL.seed)
    batches = plan_batches(source.sizes(), rows)
    return lambda: (batch.pixels for batch in stream(source, batches, p.runtime))
