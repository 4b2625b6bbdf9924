"""Image files of any kind become upright RGB of the size asked for, or a reason why not."""

import hashlib
import os
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vprlib.images.decode import ImageSettings, crop_of, decode, inspect, target_size

PLAIN = ImageSettings()
PIXELS = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def saved(folder: Path, image: Image.Image, name: str = "a.png", **options: object) -> Path:
    image.save(folder / name, **options)
    return folder / name


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def test_an_rgb_image_comes_out_as_it_is(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(PIXELS))
    found = decode(path, inspect(path).info, PLAIN)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, PIXELS)


def test_one_look_tells_size_bytes_and_digest(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(PIXELS), "a.jpg")
    seen = inspect(path).info
    assert (seen.width, seen.height, seen.is_rotated) == (30, 20, False)
    assert seen.byte_size == path.stat().st_size
    digest = hashlib.blake2b(path.read_bytes(), digest_size=8).digest()
    assert seen.digest == int.from_bytes(digest, "big") // 2 < 2**63


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(PIXELS[:, :, 0]))
    found = decode(path, inspect(path).info, PLAIN)
    np.testing.assert_array_equal(found, PIXELS[:, :, :1].repeat(3, axis=2))


def test_sixteen_bit_grey_is_scaled_and_not_clipped(tmp_path: Path) -> None:
    values = np.array([[0, 257, 25_700], [32_768, 65_278, 65_535]], dtype=np.uint16)
    path = saved(tmp_path, Image.fromarray(values))
    assert inspect(path).info.width == 3
    expected = np.array([[0, 1, 100], [127, 254, 255]])
    np.testing.assert_array_equal(
        decode(path, inspect(path).info, PLAIN), expected[:, :, None].repeat(3, 2)
    )


@pytest.mark.filterwarnings("ignore:Palette images")
@pytest.mark.parametrize("transparency", [None, 0, b"\x00\x80\xff"])
def test_a_palette_becomes_its_colours(tmp_path: Path, transparency: int | bytes | None) -> None:
    image = Image.frombytes("P", (3, 1), b"\x00\x01\x02")
    image.putpalette([200, 10, 20, 0, 255, 0, 7, 8, 9])
    options = {} if transparency is None else {"transparency": transparency}
    path = saved(tmp_path, image, **options)
    assert decode(path, inspect(path).info, PLAIN).tolist() == [
        [[200, 10, 20], [0, 255, 0], [7, 8, 9]]
    ]


def test_rgba_loses_its_transparency_and_keeps_its_colours(tmp_path: Path) -> None:
    alpha = np.full((20, 30, 1), 100, np.uint8)
    path = saved(tmp_path, Image.fromarray(np.concatenate([PIXELS, alpha], axis=2)))
    np.testing.assert_array_equal(decode(path, inspect(path).info, PLAIN), PIXELS)


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    image = Image.new("CMYK", (16, 8), (0, 255, 255, 0))
    path = saved(tmp_path, image, "a.jpg", quality=95)
    assert (inspect(path).info.width, inspect(path).info.height) == (16, 8)
    found = decode(path, inspect(path).info, PLAIN)
    np.testing.assert_allclose(found, np.broadcast_to([255, 0, 0], (8, 16, 3)), atol=3)


@pytest.mark.parametrize("mode", ["1", "LA", "L", "P"])
def test_every_mode_gives_rgb_of_the_right_shape(tmp_path: Path, mode: str) -> None:
    path = saved(tmp_path, Image.fromarray(PIXELS).convert(mode))
    assert decode(path, inspect(path).info, PLAIN).shape == (20, 30, 3)


def test_a_turned_photograph_stands_upright(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(PIXELS), exif=turned(6))
    seen = inspect(path).info
    assert (seen.width, seen.height, seen.is_rotated) == (30, 20, True)
    np.testing.assert_array_equal(decode(path, inspect(path).info, PLAIN), np.rot90(PIXELS, -1))


def test_a_photograph_upside_down_keeps_its_size(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(PIXELS), exif=turned(3))
    assert not inspect(path).info.is_rotated
    np.testing.assert_array_equal(decode(path, inspect(path).info, PLAIN), np.rot90(PIXELS, 2))


def test_a_turned_photograph_stays_as_stored_where_exif_is_ignored(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(PIXELS), exif=turned(6))
    found = decode(path, inspect(path).info, ImageSettings(exif_rotate=False))
    np.testing.assert_array_equal(found, PIXELS)


@pytest.mark.parametrize(
    ("resize", "exif_rotate", "is_rotated", "expected"),
    [
        (None, True, False, (30, 20)),
        (None, True, True, (20, 30)),
        (None, False, True, (30, 20)),
        (10, True, False, (15, 10)),
        (10, True, True, (10, 15)),
        (40, True, False, (60, 40)),
        ((17, 9), True, True, (17, 9)),
    ],
)
def test_the_size_is_known_before_decoding(
    tmp_path: Path, resize: object, exif_rotate: bool, is_rotated: bool, expected: tuple[int, int]
) -> None:
    settings = ImageSettings(resize=resize, exif_rotate=exif_rotate)
    assert target_size(30, 20, is_rotated, settings) == expected
    options = {"exif": turned(8)} if is_rotated else {}
    path = saved(tmp_path, Image.fromarray(PIXELS), **options)
    assert decode(path, inspect(path).info, settings).shape == (expected[1], expected[0], 3)


def test_a_short_side_never_vanishes() -> None:
    assert target_size(1000, 3, False, ImageSettings(resize=1)) == (333, 1)
    assert target_size(3, 5000, False, ImageSettings(resize=1)) == (1, 1667)


@pytest.mark.parametrize("resize", [0, -5, (0, 10), (10, -1)])
def test_a_size_without_pixels_is_refused(resize: object) -> None:
    with pytest.raises(ValueError, match="greater than"):
        ImageSettings(resize=resize)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_a_truncated_image_is_refused(tmp_path: Path, name: str, kept: float) -> None:
    path = saved(tmp_path, Image.fromarray(PIXELS.repeat(8, 0).repeat(8, 1)), name)
    content = path.read_bytes()
    seen = inspect(path).info
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ValueError, match=r"truncated or damaged|cannot be opened|is not an image"):
        inspect(path)
    with pytest.raises(
        ValueError, match=r"truncated or damaged|cannot be opened|is not an image|other"
    ):
        decode(path, seen, PLAIN)


def test_zero_bytes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    with pytest.raises(ValueError, match=r"^is empty \(zero bytes\)$"):
        inspect(tmp_path / "a.jpg")


def test_a_text_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("404 not found")
    with pytest.raises(ValueError, match=r"^is not an image that can be read$"):
        inspect(tmp_path / "a.jpg")


def test_postscript_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was started"))
    content = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=r"^is not an image that can be read$"):
        inspect(tmp_path / "a.jpg")


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match=r"^is not a regular file$"):
        inspect(tmp_path / "a.jpg")


@pytest.mark.parametrize("side", [10_001, 60_000])
def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path: Path, side: int) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        sums = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + sums

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b""))
    with pytest.raises(ValueError, match="has more than 100 million pixels"):
        inspect(tmp_path / "a.png")


def test_several_pictures_in_one_jpeg_are_the_first(tmp_path: Path) -> None:
    """As phones write them."""
    first = Image.fromarray(PIXELS)
    path = tmp_path / "a.jpg"
    first.save(path, format="MPO", save_all=True, append_images=[first.rotate(90)])
    found = decode(path, inspect(path).info, PLAIN)
    assert Image.open(path).format == "MPO" and found.shape == PIXELS.shape


def test_heic_is_read_with_its_library_and_named_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "a.heic"
    pillow_heif.from_pillow(Image.fromarray(PIXELS.repeat(4, 0).repeat(4, 1))).save(path)
    seen = inspect(path).info
    assert decode(path, seen, PLAIN).shape == (80, 120, 3)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ValueError, match=r"is a HEIC photograph: `pip install pillow-heif`"):
        inspect(path)


def test_a_damaged_exif_block_is_refused(tmp_path: Path) -> None:
    broken = b"Exif\0\0MM\xf7*" + turned(1).tobytes()[10:]
    path = saved(tmp_path, Image.fromarray(PIXELS), "a.webp", lossless=True, exif=broken)
    with pytest.raises(ValueError, match="truncated or damaged"):
        inspect(path)


def test_an_image_of_another_size_than_expected_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(PIXELS))
    with pytest.raises(ValueError, match="is 30×20, but was 40×20"):
        decode(path, replace(inspect(path).info, width=40), PLAIN)


def test_other_content_than_expected_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(PIXELS))
    with pytest.raises(ValueError, match=r"has other content \(\d+ bytes, \d+ then\)"):
        decode(path, replace(inspect(path).info, digest=1), PLAIN)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((5, 3, 25, 18), (5, 3, 25, 18)),
        ((4.6, 3.4, 24.6, 18.4), (5, 3, 25, 18)),
        ((-7, -2.5, 99, 99), (0, 0, 30, 20)),
        ((7.1, 6.1, 7.2, 6.2), (7, 6, 8, 7)),  # never nothing
        ((29.9, 19.9, 30, 20), (29, 19, 30, 20)),
    ],
)
def test_a_box_cuts_whole_pixels_inside_the_image(
    tmp_path: Path, box: tuple[float, ...], expected: tuple[int, ...]
) -> None:
    assert crop_of(box, 30, 20) == expected
    left, top, right, bottom = expected
    path = saved(tmp_path, Image.fromarray(PIXELS))
    found = decode(path, replace(inspect(path).info, box=box), PLAIN)
    np.testing.assert_array_equal(found, PIXELS[top:bottom, left:right])
    assert target_size(30, 20, False, PLAIN, box) == (right - left, bottom - top)


def test_a_box_is_cut_from_the_upright_image_before_it_is_resized(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(PIXELS), exif=turned(6))
    box, settings = (2, 4, 12, 24), ImageSettings(resize=5)
    upright = np.rot90(PIXELS, -1)[4:24, 2:12]
    twin = Image.fromarray(upright).resize((5, 10), Image.Resampling.BILINEAR, reducing_gap=3.0)
    found = decode(path, replace(inspect(path).info, box=box), settings)
    np.testing.assert_array_equal(found, np.asarray(twin))
    assert target_size(30, 20, True, settings, box) == (5, 10)
