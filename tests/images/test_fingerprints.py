"""What an image hashes like in 256 bits: copies are told, strangers and plain images are not."""

import io

import numpy as np
import pytest
import scipy.fft
from PIL import Image, ImageEnhance

from vprlib.images.decode import THUMBNAIL
from vprlib.images.hashes import WAVES, ImageHashes, are_alike, image_hashes, join_hashes
from vprlib.images.index import build_index

BITS = 40  # as in params.yaml


@pytest.fixture
def pictures(noise):
    """Ten photographs, so to speak: coarse blocks and fine grain."""
    grain = np.random.default_rng(0)
    return [
        np.clip(noise(seed, 160, 120) + grain.normal(0, 8, (120, 160, 3)), 0, 255).astype(np.uint8)
        for seed in range(10)
    ]


def smaller(image):
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC)


COPIES = {
    "encoded anew": (lambda image: image, {"quality": 30}),
    "as PNG": (lambda image: image, {"format": "PNG"}),
    "smaller": (smaller, {"quality": 90}),
    "larger": (lambda image: image.resize((301, 222)), {"quality": 90}),
    "brighter": (lambda image: ImageEnhance.Brightness(image).enhance(1.2), {"quality": 90}),
    "darker": (lambda image: ImageEnhance.Brightness(image).enhance(0.6), {"quality": 90}),
    "grey": (lambda image: image.convert("L"), {"quality": 90}),
}


def hashes_of(folder, images, **options):
    folder.mkdir()
    names = [f"{number}.x" for number in range(len(images))]
    for name, image in zip(names, images, strict=True):
        buffer = io.BytesIO()
        image.save(buffer, **{"format": "JPEG", **options})
        (folder / name).write_bytes(buffer.getvalue())
    return build_index("x", names, np.zeros((len(names), 2)), folder, {}, 1).hashes


def chosen(hashes: ImageHashes, rows: np.ndarray) -> ImageHashes:
    return ImageHashes(hashes.bits[rows], hashes.is_plain[rows])


@pytest.mark.parametrize("change", COPIES)
def test_a_copy_is_told_and_a_stranger_is_not(change, pictures, tmp_path):
    made, options = COPIES[change]
    images = [Image.fromarray(pixels) for pixels in pictures]
    known = hashes_of(tmp_path / "known", images, quality=92)
    copies = hashes_of(tmp_path / "copies", [made(image) for image in images], **options)
    assert are_alike(copies, known, BITS).all()
    for row in range(len(images)):
        others = chosen(known, np.delete(np.arange(len(images)), row))
        assert not are_alike(chosen(copies, np.array([row])), others, BITS).any()


def test_the_bits_are_the_signs_of_the_low_frequencies():
    grey = np.random.default_rng(1).uniform(0, 255, (3, THUMBNAIL, THUMBNAIL))
    found = np.unpackbits(image_hashes(grey).bits, axis=1).reshape(3, WAVES, WAVES).astype(bool)
    waves = scipy.fft.dctn(grey, axes=(1, 2))[:, :WAVES, :WAVES]
    expected = waves > 0
    expected[:, 0, 0] = False
    assert np.array_equal(found, expected)


def test_brightness_and_contrast_change_no_bit():
    grey = np.random.default_rng(2).uniform(50, 200, (5, THUMBNAIL, THUMBNAIL))
    assert np.array_equal(image_hashes(grey).bits, image_hashes(0.5 * grey + 20).bits)


def test_alike_equals_a_count_of_differing_bits():
    generator = np.random.default_rng(3)
    these = ImageHashes(generator.integers(0, 256, (20, 32), np.uint8), generator.random(20) < 0.2)
    flips = np.packbits(generator.random((20, 256)) < 0.16, axis=1)
    others = ImageHashes(these.bits ^ flips, generator.random(20) < 0.2)
    expected = [
        not plain
        and any(
            not other_plain and sum(bin(a ^ b).count("1") for a, b in zip(x, y, strict=True)) <= 40
            for y, other_plain in zip(others.bits.tolist(), others.is_plain, strict=True)
        )
        for x, plain in zip(these.bits.tolist(), these.is_plain, strict=True)
    ]
    found = are_alike(these, others, 40)
    assert found.tolist() == expected and 0 < found.sum() < 20


def test_images_of_one_colour_are_like_none():
    plain = image_hashes(np.full((4, THUMBNAIL, THUMBNAIL), 90.0) + np.arange(4)[:, None, None])
    assert plain.is_plain.all()
    assert not are_alike(plain, plain, 128).any()
    assert not are_alike(
        join_hashes([plain]), ImageHashes(np.zeros((0, 32), np.uint8), np.zeros(0, bool)), 9
    )[0]


def test_an_image_that_cannot_be_read_is_like_none(pictures, tmp_path):
    images = [Image.fromarray(pixels) for pixels in pictures[:3]]
    whole = hashes_of(tmp_path / "x", images)
    (tmp_path / "x/1.x").write_bytes(b"no image")
    names = ["0.x", "1.x", "2.x"]
    left = build_index("x", names, np.zeros((3, 2)), tmp_path / "x", {}, 1, "leave_out").hashes
    assert left.is_plain.tolist() == [False, True, False]
    assert np.array_equal(left.bits[[0, 2]], whole.bits[[0, 2]])


def test_large_images_are_hashed_from_a_draft_and_boxes_from_their_part(noise, tmp_path):
    """A draft of an eighth, rotated by EXIF; the box is given in pixels of the upright image."""
    large = Image.fromarray(noise(1, 400, 300)).resize((3200, 2400))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 270 degrees when it is shown
    large.rotate(90, expand=True).save(tmp_path / "a.jpg", exif=exif)
    large.crop((800, 400, 2400, 2000)).save(tmp_path / "b.jpg")
    names, box = (
        ["a.jpg", "b.jpg"],
        {"box": np.array([[800.0, 400, 2400, 2000], [0, 0, 1600, 1600]])},
    )
    hashes = build_index("x", names, np.zeros((2, 2)), tmp_path, box, 1).hashes
    one, other = (chosen(hashes, np.array([row])) for row in (0, 1))
    assert are_alike(one, other, 12).all()
