"""Networks in ONNX that another framework wrote: what they are given, and when they are refused."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from vprlib.model.describe import network_output
from vprlib.model.model import read_model, read_variant, write_onnx
from vprlib.model.onnx.network import OnnxNetwork
from vprlib.model.onnx.settings import OnnxInput
from vprlib.pipeline.params import UserError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

D = 5
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
Shape = Sequence[int | str]


def filters() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(D, 3, 3, 3)).astype(np.float32)


def file(
    shape: Shape = ("n", 3, "h", "w"), kind: int = TensorProto.FLOAT, also: str | None = None
) -> bytes:
    """A convolution and the mean over positions, written without PyTorch."""
    is_nhwc = shape[3] == 3
    nodes, x = [], "x"
    if kind != TensorProto.FLOAT:
        nodes, x = [helper.make_node("Cast", [x], ["f"], to=TensorProto.FLOAT)], "f"
    if is_nhwc:
        nodes.append(helper.make_node("Transpose", [x], ["t"], perm=[0, 3, 1, 2]))
        x = "t"
    nodes += [
        helper.make_node("Conv", [x, "weight"], ["map"]),
        helper.make_node("Relu", ["map"], ["positive"]),
        helper.make_node("GlobalAveragePool", ["positive"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["descriptor"]),
    ]
    outputs = [helper.make_tensor_value_info("descriptor", TensorProto.FLOAT, None)]
    if also:
        outputs.insert(0, helper.make_tensor_value_info(also, TensorProto.FLOAT, None))
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", kind, list(shape))],
        outputs,
        [numpy_helper.from_array(filters(), "weight")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return made.SerializeToString()


def takes(**given: object) -> OnnxInput:
    return OnnxInput.model_validate({"mean": MEAN, "std": STD} | given)


def network(content: bytes, **given: object) -> OnnxNetwork:
    return OnnxNetwork(content, takes(**given), "other.onnx")


def images(count: int = 3, height: int = 12, width: int = 16) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (count, height, width, 3), np.uint8)


def by_hand(pixels: np.ndarray) -> np.ndarray:
    """Slowly, from numbers [B, H, W, 3] as the convolution gets them."""
    weight, found = filters(), []
    for image in pixels.astype(np.float64):
        total, places = np.zeros(D), 0
        for top in range(image.shape[0] - 2):
            for left in range(image.shape[1] - 2):
                window = image[top : top + 3, left : left + 3].transpose(2, 0, 1)
                total += np.maximum(0, (weight * window).sum(axis=(1, 2, 3)))
                places += 1
        found.append(total / places)
    return np.array([vector / np.linalg.norm(vector) for vector in found])


def normalised(pixels: np.ndarray) -> np.ndarray:
    return (pixels / 255 - MEAN) / STD


def test_it_describes_as_worked_by_hand() -> None:
    pixels = images()
    found = network(file())(torch.from_numpy(pixels)).numpy()
    np.testing.assert_allclose(found, by_hand(normalised(pixels)), atol=1e-5)


@pytest.mark.parametrize(
    ("content", "given", "as_given"),
    [
        (file(("n", "h", "w", 3)), {"layout": "nhwc"}, normalised),
        (file(), {"mean": None, "std": None}, lambda x: x),
        (file(kind=TensorProto.UINT8), {"mean": None, "std": None}, lambda x: x),
        (file(), {"colours": "bgr"}, lambda x: normalised(x[..., ::-1])),
        (file((1, 3, 12, 16)), {"size": [16, 12]}, normalised),
        (file(also="positive"), {"output": "descriptor"}, normalised),
    ],
    ids=["nhwc", "0 to 255", "uint8", "bgr", "fixed", "output"],
)
def test_images_come_in_the_form_that_is_stated(
    content: bytes, given: dict[str, object], as_given: Callable[[np.ndarray], np.ndarray]
) -> None:
    pixels = images()
    found = network(content, **given)(torch.from_numpy(pixels)).numpy()
    np.testing.assert_allclose(found, by_hand(as_given(pixels)), atol=1e-5)


def test_images_of_another_size_are_resized_to_its_own() -> None:
    fixed = network(file((1, 3, 12, 16)), size=[16, 12])
    grey = np.full((2, 40, 30, 3), 90, np.uint8)
    found = fixed(torch.from_numpy(grey)).numpy()
    np.testing.assert_allclose(found, by_hand(normalised(grey[:, :12, :16])), atol=1e-5)
    noise = torch.from_numpy(images(2, 40, 30))
    other = network(file((1, 3, 12, 16)), size=[16, 12], resample="bicubic")
    assert not torch.allclose(fixed(noise), other(noise), atol=1e-4)


def test_a_descriptor_does_not_depend_on_the_images_beside_it() -> None:
    one, pixels = network(file()), torch.from_numpy(images(5))
    together = one(pixels)
    for row, image in enumerate(pixels):
        assert torch.equal(network_output(one, image[None])[0], together[row])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(one(pixels), together)


def test_the_threads_change_no_byte() -> None:
    pixels, before = torch.from_numpy(images(2, 120, 160)), torch.get_num_threads()
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(network(file())(pixels))
    torch.set_num_threads(before)
    assert torch.equal(*found)


def test_its_file_holds_it_whole(tmp_path) -> None:
    path, pixels = tmp_path / "other.safetensors", torch.from_numpy(images())
    own = network(file((1, 3, 12, 16)), size=[16, 12])
    write_onnx(path, own, {"file": "other.onnx"})
    again = read_variant(path)
    assert again.dim == D and torch.equal(again(pixels), own(pixels))
    write_onnx(tmp_path / "again", own, {"file": "other.onnx"})
    assert path.read_bytes() == (tmp_path / "again").read_bytes()
    with pytest.raises(UserError, match="can only be described with"):
        read_model(path)


@pytest.mark.parametrize(
    ("content", "given", "said"),
    [
        (b"no network", {}, "is not a network that ONNX Runtime can run"),
        (file()[:-40], {}, "is not a network that ONNX Runtime can run"),
        (file(), {"layout": "nhwc"}, "correct `layout`"),
        (file(("n", "h", "w", 3)), {}, "correct `layout`"),
        (file((1, 3, 12, 16)), {}, r"a width of 16 and a height of 12, but `size`.* is null"),
        (file((1, 3, 12, 16)), {"size": [12, 16]}, r"`size` of its `input` is \[12, 16\]"),
        (file((4, 3, 12, 16)), {"size": [16, 12]}, "takes 4 images at a time"),
        (file(), {"size": [2, 2]}, r"cannot describe an image of 2×2 pixels"),
        (file(kind=TensorProto.UINT8), {}, "set mean and std of its `input` to null"),
        (file(kind=TensorProto.DOUBLE), {}, r"takes tensor\(double\), but should take one of"),
        (file(also="positive"), {}, "gives positive, descriptor: name one of them"),
        (file(), {"output": "map"}, "gives descriptor, but not 'map'"),
        (file(also="positive"), {"output": "positive"}, "a descriptor should be floats"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    content: bytes, given: dict[str, object], said: str
) -> None:
    with pytest.raises(UserError, match=said) as refused:
        network(content, **given)
    message = str(refused.value)
    assert message.startswith("other.onnx") and "\n" not in message and message.endswith(".")


def test_weights_outside_the_file_are_refused() -> None:
    proto = onnx.load_from_string(file())
    (weight,) = proto.graph.initializer
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    with pytest.raises(UserError, match="with its weights inside"):
        network(proto.SerializeToString())


def test_numbers_that_are_not_finite_are_refused() -> None:
    proto = onnx.load_from_string(file())
    (weight,) = proto.graph.initializer
    weight.CopyFrom(numpy_helper.from_array(filters() * np.float32(1e38), "weight"))
    with pytest.raises(UserError, match="not finite"):
        network(proto.SerializeToString())


def test_mean_and_std_are_stated_both_or_not_at_all() -> None:
    with pytest.raises(ValueError, match="both null"):
        takes(mean=None)
