"""Networks that we write in ONNX."""

import numpy as np
import pytest
import torch
from torch import nn

from vprlib.model.backbones import Normaliser
from vprlib.model.lite0 import Same
from vprlib.model.onnx.export import to_onnx
from vprlib.model.onnx.session import INPUT, open_session

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def test_margins_that_depend_on_the_size_are_those_of_convolutions() -> None:
    torch.manual_seed(1)
    layers = Same(3), nn.Conv2d(3, 4, 3, 2), Same(5), nn.Conv2d(4, 4, 5, 2, groups=4)
    network = nn.Sequential(Normaliser(), *layers).eval()
    images = np.random.default_rng(1).integers(0, 256, (2, 24, 31, 3), np.uint8)
    content, any_size = to_onnx(network, images[0])
    kinds = [node.op_type for node in onnx.load_from_string(content).graph.node]
    assert any_size and "Pad" not in kinds and "Shape" in kinds and "Mod" not in kinds
    session = open_session(content, 1, "it")
    for height, width in ((24, 31), (23, 30), (22, 22), (21, 27), (12, 11)):
        pixels = images[:, :height, :width].copy()
        with torch.no_grad():
            expected = network(torch.from_numpy(pixels)).numpy()
        found = session.run(None, {INPUT: pixels})[0]
        np.testing.assert_allclose(found, expected, atol=1e-5)
