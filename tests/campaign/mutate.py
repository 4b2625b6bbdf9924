"""Damages files of every format, each in ways of its own: bytes, structure, kinds, sizes."""

import csv
import io
import json
import random
import struct
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import scipy.io
import torch
import yaml

ODD = [
    *(None, True, "", "x", -1, 0, 0.5, 2**31, 2**63, 2**70, -(2**40), 1e300, -1e-300),
    *([], {}, [1, "a"], {"a": 1}, [[]], "x" * 300, "../../../outside/secret", "/etc/passwd"),
    *("é 😀 %s %n", "a\nb", "\x1b[31m", "nan", float("nan"), float("inf"), "1e400", "2001-99-99"),
]
NAMES = [
    *("../../outside/secret.jpg", "/etc/passwd", "..", ".", "a\nb.jpg", "a\tb.jpg", "x" * 300),
    *("a%20b.jpg", "\\..\\..\\x.jpg", "é😀.jpg", "-rf", "con.jpg", " .jpg", "link/secret.jpg"),
]


def raw(content: bytes, rng: random.Random) -> bytes:
    """Cut, emptied, flipped, doubled, or something else altogether."""
    place = rng.randrange(len(content) + 1)
    ways: list[Callable[[], bytes]] = [
        lambda: b"",
        lambda: content[:place],
        lambda: content[place:],
        lambda: content[:place] + rng.randbytes(rng.randint(1, 99)) + content[place:],
        lambda: content[:place] + bytes(rng.randint(1, 999)) + content[place + 99 :],
        lambda: content * 2,
        lambda: rng.randbytes(rng.randint(1, 5000)),
        lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
        lambda: b"just text\n" * rng.randint(1, 99),
        lambda: _flipped(content, rng),
        lambda: _flipped(content, rng),
        lambda: _flipped(content[:400], rng) + content[400:],
    ]
    return rng.choice(ways)()


def _flipped(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice([1, 4, 40])):
        if changed:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def tree(node: object, rng: random.Random) -> object:
    """A copy in which one value somewhere is odd, doubled or gone."""
    if not isinstance(node, (dict, list)) or not node or rng.random() < 0.05:
        return rng.choice(ODD)
    keys = list(node) if isinstance(node, dict) else list(range(len(node)))
    key, copy = rng.choice(keys), node.copy()
    chance = rng.random()
    if chance < 0.1:
        del copy[key]
    elif chance < 0.15 and isinstance(copy, dict):
        copy[rng.choice(["extra", "", "é", 3])] = copy[key]
    else:
        copy[key] = tree(copy[key], rng)
    return copy


def json_file(path: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    if rng.random() < 0.3:
        path.write_bytes(raw(content, rng))
    else:
        path.write_text(json.dumps(tree(json.loads(content), rng)))


def yaml_file(path: Path, rng: random.Random) -> None:
    content = path.read_text()
    if rng.random() < 0.1:
        path.write_bytes(raw(content.encode(), rng))
    elif rng.random() < 0.15:
        kinds = ["!!int abc", "2001-99-99", "9" * 10_000, "!!python/object:os.system x", "*none"]
        lines = content.splitlines()
        place = rng.randrange(len(lines))
        lines[place] = lines[place].partition(":")[0] + ": " + rng.choice(kinds)
        path.write_text("\n".join(lines))
    else:
        path.write_text(yaml.safe_dump(tree(yaml.safe_load(content), rng)))


def hdf5_file(path: Path, rng: random.Random) -> None:
    if rng.random() < 0.4:
        path.write_bytes(raw(path.read_bytes(), rng))
        return
    with h5py.File(path, "r+") as file:
        arrays: list[str] = []
        file.visititems(lambda n, o: arrays.append(n) if isinstance(o, h5py.Dataset) else None)
        name = rng.choice(arrays) if arrays else "none"
        if not arrays or (file.attrs and rng.random() < 0.3):
            key = rng.choice(list(file.attrs))
            del file.attrs[key]
            odd = rng.choice([None, "x", 3, -1.5, np.nan, [1, 2], True, "../../x"])
            if odd is not None:
                file.attrs[key] = odd
            return
        shape, dtype = file[name].shape, file[name].dtype
        plain = np.float32 if dtype.kind == "O" else dtype
        values = file[name][()]
        del file[name]
        ways: list[Callable[[], object]] = [
            lambda: None,
            lambda: file.create_group(name),
            lambda: file.create_dataset(name, (2**36, *shape[1:]), plain, chunks=True),
            lambda: file.create_dataset(name, data=np.zeros((3, 0, 2), plain)),
            lambda: file.create_dataset(name, data=np.zeros((), plain)),
            lambda: file.create_dataset(name, data=np.array([b"a", b"b"])),
            lambda: file.create_dataset(name, data=values[: len(values) // 2] if shape else 3),
            lambda: file.create_dataset(name, data=np.full(shape, np.nan)),
            lambda: file.create_dataset(name, data=np.full(shape, -1e30)),
            lambda: file.create_dataset(name, data=np.full(shape, 2**62)),
            lambda: file.create_dataset(name, data=np.full(shape, -7)),
            lambda: file.create_dataset(name, data=np.full(shape, 1 + 2j)),
            lambda: file.__setitem__(name, h5py.ExternalLink("../outside/secret.h5", "x")),
            lambda: file.__setitem__(name, h5py.SoftLink("/nowhere")),
            lambda: file.create_dataset(
                name, (4,), "f4", external=[("../../outside/secret.jpg", 0, 16)]
            ),
        ]
        rng.choice(ways)()


def beside_photographs(path: Path, rng: random.Random) -> None:
    """A photograph, whose EXIF is near its start, or a track."""
    content = path.read_bytes()
    if path.suffix == ".gpx":
        path.write_bytes(raw(content, rng))
    elif rng.random() < 0.7:
        path.write_bytes(raw(content[:700], rng) + content[700:])
    else:
        image_file(path, rng)


def csv_file(path: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    if rng.random() < 0.25:
        path.write_bytes(raw(content, rng))
        return
    rows = list(csv.reader(io.StringIO(content.decode())))
    row = rng.choice(rows)
    cells = [*map(str, ODD), *NAMES, "x" * 200_000, "1e308", "-1e308", "\x00", '"']
    if rng.random() < 0.15:
        row.pop()
    else:
        row[rng.randrange(len(row))] = rng.choice(cells)
    with path.open("w", newline="") as file:
        csv.writer(file, escapechar="\\").writerows(rows)


def mat_file(path: Path, rng: random.Random) -> None:
    if rng.random() < 0.4:
        path.write_bytes(raw(path.read_bytes(), rng))
        return
    variables = {n: v for n, v in scipy.io.loadmat(path).items() if not n.startswith("__")}
    key = rng.choice(list(variables))
    value = variables[key]
    if value.dtype.names:
        fields = {name: value[0, 0][name] for name in value.dtype.names}
        fields[rng.choice(list(fields))] = _odd_array(rng)
        variables[key] = fields
    else:
        variables[key] = _odd_array(rng)
    scipy.io.savemat(path, variables)


def _odd_array(rng: random.Random) -> np.ndarray:
    names = np.empty((6, 1), object)
    names[:, 0] = [rng.choice(NAMES) for _ in range(6)]
    return rng.choice(
        [
            *(np.zeros((0, 0)), np.full((2, 6), np.nan), np.full((2, 6), 1e308), np.ones((6, 2))),
            *(np.array([[1j]]), np.array(["text"]), np.array([[-5]]), np.array([[2**62]]), names),
        ]
    )


def safetensors_file(path: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    if rng.random() < 0.3:
        path.write_bytes(raw(content, rng))
        return
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    if rng.random() < 0.5 and "__metadata__" in header:
        inner = tree(json.loads(header["__metadata__"]["header"]), rng)
        header["__metadata__"]["header"] = json.dumps(inner)
    else:
        header = tree(header, rng)
    text = json.dumps(header).encode()
    size = rng.choice([len(text), len(text), len(text), 2**40, 0])
    path.write_bytes(struct.pack("<Q", size) + text + content[8 + length :])


def torch_file(path: Path, rng: random.Random) -> None:
    """A checkpoint whose tensors or records are odd."""
    if rng.random() < 0.3:
        path.write_bytes(raw(path.read_bytes(), rng))
        return
    content = torch.load(path, weights_only=True)
    state = content["state_dict"]
    key = rng.choice(list(state))
    tensors: list[Callable[[], object]] = [
        lambda: torch.eye(3).to_sparse(),
        lambda: torch.full(state[key].shape, torch.nan),
        lambda: torch.empty(3, device="meta"),
        lambda: torch.ones(1).expand(2**36, 4),
        lambda: state[key].to(torch.float8_e4m3fn),
        lambda: state[key].flatten(),
        lambda: torch.zeros(2_000_000, 3),
        lambda: rng.choice([None, 3, "x", [1], {}]),
    ]
    if rng.random() < 0.7:
        state[key] = rng.choice(tensors)()
    else:
        content = tree(content, rng)
    torch.save(content, path)


def image_file(path: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    if rng.random() < 0.1:
        path.unlink()
        ways: list[Callable[[], object]] = [
            lambda: path.mkdir(),
            lambda: path.symlink_to("../../../../outside/secret.jpg"),
            lambda: path.symlink_to(path.name),
            lambda: None,
        ]
        rng.choice(ways)()
    elif rng.random() < 0.2:  # a header of many pixels
        side = rng.choice([0, 1, 13_000, 2**31 - 1])
        path.write_bytes(
            content[:163] + struct.pack(">HH", side % 2**16, side % 2**16) + content[167:]
        )
    else:
        path.write_bytes(raw(content, rng))
