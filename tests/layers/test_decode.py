"""Pictures of every mode mean the same; EXIF turns them, and broken EXIF does not matter."""

import struct

import numpy as np
import pytest
from PIL import Image
from pvq.layers import LayerError
from pvq.layers.decode import open_image

GREY = (np.arange(12 * 9).reshape(12, 9) * 2 % 256).astype(np.uint8)


def decoded(path):
    image = open_image(path)
    assert image.mode == "RGB"
    return np.asarray(image)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("16.png", GREY.astype(np.uint16) * 257),
        ("16.tif", GREY.astype(np.uint16) * 257),
        ("16_big.tif", (GREY.astype(np.uint16) * 257).astype(">u2")),
        ("8_in_32.tif", GREY.astype(np.int32)),
        ("16_in_32.tif", GREY.astype(np.int32) * 257),
        ("share.tif", (GREY / 255).astype(np.float32)),
        ("255.tif", GREY.astype(np.float32)),
        ("65535.tif", GREY.astype(np.float32) * 257),
    ],
)
def test_grey_values_are_scaled_by_their_meaning(tmp_path, name, array):
    Image.fromarray(array).save(tmp_path / name)
    assert (decoded(tmp_path / name) == GREY[..., None]).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_other_modes(tmp_path, mode):
    grey = np.where(GREY > 127, 255, 0).astype(np.uint8) if mode == "1" else GREY
    image = Image.fromarray(grey)
    image = image.convert(mode if mode in ("LA", "P", "PA") else "RGB").convert(mode)
    image.save(tmp_path / "a.tif")
    shown = decoded(tmp_path / "a.tif").astype(int)
    assert np.abs(shown - grey[..., None]).max() <= (2 if mode == "YCbCr" else 0)  # its colours are rounded


def packed(pixels, bits):
    """Rows of a TIFF file of 16 bits, or of 12: two pixels in three bytes."""
    if bits == 16:
        return pixels.astype("<u2").tobytes()
    left, right = pixels[:, ::2].astype(int), pixels[:, 1::2].astype(int)
    return np.stack([left >> 4, (left & 15) << 4 | right >> 8, right & 255], 2).astype(np.uint8).tobytes()


@pytest.mark.parametrize("bits", [12, 16])
def test_twelve_bits_and_white_is_zero(tmp_path, bits):
    grey = GREY[:, :8]
    pixels = np.rint(grey / 255 * (2**bits - 1)).astype(np.uint16)
    height, width = pixels.shape

    def tiff(path, photometric):
        data = packed(pixels, bits)
        tags = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 1, bits), (259, 3, 1, 1)]
        tags += [(262, 3, 1, photometric), (273, 4, 1, 8), (277, 3, 1, 1), (278, 3, 1, height)]
        tags += [(279, 4, 1, len(data))]
        head = b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags))
        path.write_bytes(head + b"".join(struct.pack("<HHII", *tag) for tag in tags) + b"\0" * 4)

    tiff(tmp_path / "black.tif", 1)
    assert (decoded(tmp_path / "black.tif") == grey[..., None]).all()
    if bits == 16:  # Pillow reads no others of this kind
        tiff(tmp_path / "white.tif", 0)
        assert (decoded(tmp_path / "white.tif") == 255 - grey[..., None]).all()


def test_a_dark_picture_of_sixteen_bits_stays_dark(tmp_path):
    (tmp_path / "a.pgm").write_bytes(b"P5 9 12 65535\n" + GREY.astype(">u2").tobytes())
    with Image.open(tmp_path / "a.pgm") as image:
        assert image.mode == "I"
    assert (decoded(tmp_path / "a.pgm") == np.rint(GREY / 257)[..., None]).all()


@pytest.mark.parametrize("array", [GREY - 300.0, np.full((3, 3), np.nan), GREY * 1e9])
def test_numbers_without_a_scale_are_refused(tmp_path, array):
    Image.fromarray(array.astype(np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(LayerError, match=r"a\.tif: pixels from .* have no known scale") as caught:
        open_image(tmp_path / "a.tif")
    assert "\n" not in str(caught.value)


def test_a_palette_with_transparency(tmp_path):
    colours = Image.fromarray(GREY).convert("P")
    colours.save(tmp_path / "bytes.png", transparency=bytes(range(256)))
    colours.save(tmp_path / "one.gif", transparency=3)
    assert decoded(tmp_path / "bytes.png").shape == decoded(tmp_path / "one.gif").shape == (*GREY.shape, 3)
    assert (decoded(tmp_path / "bytes.png") == GREY[..., None]).all()


def exif(kind, count, value):
    entry = struct.pack("<HHI", 0x0112, kind, count) + value
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + b"\0" * 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright(tmp_path, orientation):
    """Against Pillow's own reading of a picture with sound EXIF."""
    from PIL import ImageOps

    data = exif(3, 1, struct.pack("<HH", orientation, 0))
    Image.fromarray(GREY).save(tmp_path / "a.png", exif=data)
    with Image.open(tmp_path / "a.png") as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert np.array_equal(decoded(tmp_path / "a.png"), expected)
    assert (orientation == 1) == np.array_equal(expected, np.repeat(GREY[..., None], 3, axis=2))


def test_broken_exif_is_ignored(tmp_path):
    rng = np.random.default_rng(0)
    sound = exif(3, 1, struct.pack("<HH", 6, 0))
    photo = Image.fromarray(rng.integers(0, 255, (16, 20, 3), dtype=np.uint8))
    broken = [exif(2, 2, b"6\0\0\0"), exif(3, 2, struct.pack("<HH", 6, 6)), exif(5, 1, b"\xff\0\0\0"), sound[:15]]
    for _ in range(60):
        mutated = bytearray(sound)
        for place in rng.integers(6, len(sound), 3):
            mutated[place] = rng.integers(256)
        broken.append(bytes(mutated))
    for data in broken:
        photo.save(tmp_path / "a.jpg", exif=data)
        assert sorted(decoded(tmp_path / "a.jpg").shape) == [3, 16, 20]


@pytest.mark.parametrize("raised", [SyntaxError, TypeError, ZeroDivisionError, struct.error, OverflowError])
def test_whatever_a_reader_of_exif_raises_is_ignored(tmp_path, monkeypatch, raised):
    """Versions of Pillow differ in what broken data raise; the newest seem to raise nothing."""

    def getexif(image):
        raise raised("no orientation")

    Image.fromarray(GREY).save(tmp_path / "a.jpg")
    monkeypatch.setattr(Image.Image, "getexif", getexif)
    assert decoded(tmp_path / "a.jpg").shape == (*GREY.shape, 3)
