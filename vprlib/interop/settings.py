"""How a network from elsewhere is described in params.yaml."""

from typing import Literal

from vprlib.model.onnx.settings import OnnxInput
from vprlib.pipeline.inside import Name
from vprlib.pipeline.params import Section


class NetworkSettings(Section):
    """An entry of `networks`."""

    file: Name  # in data/raw/weights
    whitening: Literal["keep", "drop"] = "keep"  # its own, if it brings one
    input: OnnxInput | None = None  # how a network in ONNX takes images
