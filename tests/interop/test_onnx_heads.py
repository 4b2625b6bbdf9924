"""Heads as ONNX: the same descriptors as in PyTorch, with their own preprocessing inside."""

import numpy as np
import pytest
import small_dinov2
import torch
from pydantic import TypeAdapter

from vprlib.interop.onnx_export import AGREEMENT, Plain, check_exportable, difference, with_identity
from vprlib.interop.onnx_run import Exported, Identity
from vprlib.model.model import Architecture, PlaceModel
from vprlib.model.onnx.export import to_onnx
from vprlib.model.settings import AnyPool

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytestmark = pytest.mark.slow

ALEXNET, DINOV2 = ("alexnet", "conv5"), (small_dinov2.NAME, "norm")
SALAD = {"kind": "salad", "clusters": 4, "channels": 3, "token": 5, "hidden": 7}
HEADS = {
    "gem_fc": (ALEXNET, {"kind": "gem_fc", "dimensions": 5}, {}),
    "convap": (ALEXNET, {"kind": "convap", "channels": 4}, {}),
    "mixvpr": (ALEXNET, {"kind": "mixvpr", "map": [7, 9], "blocks": 1}, {}),
    "boq": (ALEXNET, {"kind": "boq", "channels": 64, "queries": 3, "rows": 2}, {}),
    "supervlad": (ALEXNET, {"kind": "supervlad"}, {"clusters": 3}),
    "netvlad_linear": (ALEXNET, {"kind": "netvlad_linear"}, {"clusters": 3}),
    "salad": (DINOV2, SALAD, {}),
    "megaloc": (DINOV2, SALAD | {"linear": 6}, {}),
    "resized": (ALEXNET, {"kind": "gem_fc", "dimensions": 5}, {"size": (96, 112)}),
    "bicubic": (DINOV2, SALAD, {"size": (84, 84), "resample": "bicubic"}),
}


@pytest.mark.parametrize("name", HEADS)
def test_an_exported_head_gives_the_same_descriptors(
    monkeypatch: pytest.MonkeyPatch, slim: str, name: str
) -> None:
    small_dinov2.install(monkeypatch)
    (backbone, cut), pool, more = HEADS[name]
    torch.manual_seed(1)
    settings = TypeAdapter(AnyPool).validate_python(pool)
    model = PlaceModel(Architecture(backbone, cut, settings, **more))
    check_exportable(model, "m")
    draw = np.random.default_rng(1)
    images = list(draw.integers(0, 256, (3, 64, 80, 3), dtype=np.uint8))
    about = Identity("v", "", "full", "", {}, "", model.dim)
    with torch.no_grad():
        may_differ = model.architecture.takes_any_size
        content, any_size = to_onnx(Plain(model, {}), images[0], may_differ)
        content = with_identity(content, about)
        found = difference(
            Exported(content, 1), lambda x: model(torch.from_numpy(x)).numpy(), images, any_size
        )
    assert found < AGREEMENT
    # MixVPR needs maps of one size, and DINOv2's positions are made for the size of the image
    assert any_size == (name not in ("mixvpr", "salad", "megaloc"))
