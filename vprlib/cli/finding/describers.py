"""Describes photographs by the network in PyTorch, or faster by its export."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import typer

from vprlib.cli.choice import Choice, SetParams
from vprlib.images.batches import Batch, ImageSource
from vprlib.images.decode import ImageSettings
from vprlib.interop.onnx_run import Exported, identity
from vprlib.pipeline.params import UserError
from vprlib.pipeline.runtime import RuntimeSettings

# images uint8 [B, H, W, 3] of one size to [B, d]
Describe = Callable[[np.ndarray], np.ndarray]


class NetworkDescriber:
    """Descriptors [N, d] by PyTorch, whitened as the code asks and not yet rounded."""

    def __init__(self, choice: Choice) -> None:
        self.choice = choice

    @property
    def path(self) -> Path:
        return self.choice.model_path

    def __call__(self, photos: ImageSource, runtime: RuntimeSettings) -> np.ndarray:
        from vprlib.model.describe import describe_into
        from vprlib.model.device import prepare
        from vprlib.model.model import read_variant
        from vprlib.model.precision import placed

        device = prepare(runtime)
        stored = read_variant(self.path)
        vectors = np.empty((len(photos.index), stored.dim), np.float32)
        model, rows = placed(stored, device), np.arange(len(vectors))
        precision = self.choice.precision()
        describe_into(vectors, model, photos, rows, device, runtime, precision=precision)
        return self.choice.read_code().apply(vectors)

    def resident(self, runtime: RuntimeSettings) -> Describe:
        """The same for images of one size that are in memory; the network stays there too."""
        from vprlib.model.describe import describe_batches
        from vprlib.model.device import prepare
        from vprlib.model.model import read_variant
        from vprlib.model.precision import placed

        device = prepare(runtime)
        model, code = placed(read_variant(self.path), device), self.choice.read_code()
        precision = self.choice.precision()

        def describe(pixels: np.ndarray) -> np.ndarray:
            batch = Batch(np.arange(len(pixels)), pixels)
            (found,) = describe_batches(model, [batch], device, precision)
            return code.apply(found.values.numpy())

        return describe


class ExportDescriber:
    """The same by a file of `vpr model export`, which must be of the chosen network and code."""

    def __init__(self, path: Path, choice: Choice, images: ImageSettings, threads: int) -> None:
        if not path.exists():
            raise UserError(f"{path} is missing: write it with `vpr model export`.")
        self.path, self.network = path, Exported(path, threads)
        wanted = identity(choice.variant, choice.model_path, choice.code, choice.coder_path, images)
        differences = self.network.identity.differences(wanted)
        if differences:
            raise UserError(
                f"{path} {'; it '.join(differences)}: export it again by `vpr model export`, or"
                " leave it out."
            )

    def __call__(self, photos: ImageSource, runtime: RuntimeSettings) -> np.ndarray:
        return self.network.describe(photos, runtime)

    def resident(self, _runtime: RuntimeSettings) -> Describe:
        return self.network


def describer(
    onnx: Path | None, choice: Choice, p: SetParams, use_export: bool
) -> NetworkDescriber | ExportDescriber:
    """The export at `onnx`; or, with `use_export`, a valid one of the choice; or the network."""
    given = (choice, p.images, p.runtime.cores)
    if onnx is not None:
        return ExportDescriber(onnx, *given)
    if use_export and choice.onnx_path.exists():
        try:
            return ExportDescriber(choice.onnx_path, *given)
        except UserError as error:
            typer.echo(f"without the export: {error}", err=True)
    return NetworkDescriber(choice)
