import base64
import io
import resource
import struct
import time
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from pydantic import ValidationError

from model_store.errors import ItemError, ItemMismatch, ItemTooLarge
from model_store.inputs.image import FORMATS, ImageInput

Pixels = npt.NDArray[np.uint8]
GREY = ImageInput(height=4, width=6, channels=1)
COLOUR = ImageInput(height=4, width=6, channels=3)


def encode(item: object, spec: ImageInput = COLOUR) -> Pixels:
    """uint8 ``[C, H, W]``"""
    encoded = spec.encoder(Path())(item, None)
    assert list(encoded.tensors) == ["image"]
    [pixels] = encoded.tensors["image"]
    assert pixels.dtype == np.uint8
    assert pixels.shape == (spec.channels, spec.height, spec.width)
    result: Pixels = pixels
    return result


def file(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(*shape: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, rows: bytes, depth: int = 8, colour: int = 0) -> bytes:
    """A PNG by hand: ``rows`` are the bytes before compression."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


# --- size --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (40, 25)])
def test_without_a_size_of_its_own_a_picture_stays_as_large_as_it_came(
    size: tuple[int, int],
) -> None:
    pixels = noise(size[1], size[0], 3)
    for item in (file(Image.fromarray(pixels)), pixels.tolist()):
        encoded = ImageInput().encoder(Path())(item, None)
        np.testing.assert_array_equal(encoded.tensors["image"][0], pixels.transpose(2, 0, 1))
        assert encoded.context == {"width": size[0], "height": size[1]}


@pytest.mark.parametrize("side", ["height", "width"])
def test_a_size_is_both_sides_or_none(side: str) -> None:
    with pytest.raises(ValidationError, match="expected both or none"):
        ImageInput.model_validate({side: 4})


# --- forms of an item --------------------------------------------------------------------------


def test_every_form_of_a_picture_is_the_same_pixels() -> None:
    pixels = noise(4, 6, 3)
    body = file(Image.fromarray(pixels))
    b64 = base64.b64encode(body).decode()
    for item in (
        body,
        {"b64": b64},
        f"data:image/png;base64,{b64}",
        f"data:image/png;name=a.png;base64,{b64}",
        pixels.tolist(),
    ):
        np.testing.assert_array_equal(encode(item), pixels.transpose(2, 0, 1))


def test_nested_pixels_may_be_grey_with_or_without_an_axis_for_it() -> None:
    pixels = noise(4, 6)
    for item in (pixels.tolist(), pixels[:, :, None].tolist(), pixels.astype(float).tolist()):
        np.testing.assert_array_equal(encode(item, GREY)[0], pixels)
        np.testing.assert_array_equal(encode(item)[2], pixels)


def test_nested_pixels_may_have_an_alpha_channel() -> None:
    pixels = np.dstack([noise(4, 6, 3), np.full((4, 6), 255, np.uint8)])
    np.testing.assert_array_equal(encode(pixels.tolist()), pixels[:, :, :3].transpose(2, 0, 1))


def test_fractions_of_a_pixel_are_rounded() -> None:
    spec = ImageInput(height=2, width=2, channels=1)
    assert encode([[0.4, 0.6], [254.6, 255]], spec).tolist() == [[[0, 1], [255, 255]]]


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ([[0, 256]], "pixels: expected values from 0 to 255; got 0 to 256"),
        ([[-1, 0]], "pixels: expected values from 0 to 255; got -1 to 0"),
        ([[0, float("nan")]], "pixels: expected finite"),
        ([[0, 1], [2]], "pixels: expected rows of equal length"),
        ([["0"]], "pixels: expected numbers"),
        ([], r"pixels: expected H×W or H×W×C with C of 1, 3 or 4; got shape \[0\]"),
        ([[]], r"got shape \[1, 0\]"),
        ([[], []], r"got shape \[2, 0\]"),
        ([1, 2, 3], r"got shape \[3\]"),
        ([[[1, 2]]], r"got shape \[1, 1, 2\]"),
        ([[[[1]]]], r"got shape \[1, 1, 1, 1\]"),
        ({"b64": "%%%"}, "b64: expected base64; got '%%%'"),
        ({"b64": "aGVsbG8"}, "b64: expected base64"),  # without its padding
        ({"b64": "ümlaut=="}, "b64: expected base64"),
        ({"b64": 7}, r"expected \{\"b64\""),
        ({"b64": "aGVsbG8=", "x": 1}, r"got keys \['b64', 'x'\]"),
        ({}, r"got keys \[\]"),
        ("data:image/png;base64,%%%", "data: expected base64"),
        ("data:image/png,plain", "got the string"),
        ("https://example.org/cat.png", "got the string 'https://example.org/cat.png'"),
        ("", "got the string ''"),
        (None, "got None"),
        (7, "got 7"),
    ],
)
def test_what_is_no_picture_is_refused(item: object, words: str) -> None:
    with pytest.raises(ItemMismatch, match=words):
        encode(item)


def test_the_context_has_the_size_that_was_sent() -> None:
    encoded = COLOUR.encoder(Path())(file(Image.fromarray(noise(30, 20, 3))), None)
    assert encoded.context == {"width": 20, "height": 30}


# --- formats and modes -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_that_is_named_is_read(kind: str) -> None:
    picture = Image.new("RGB", (6, 4), (200, 100, 50))
    body = file(picture, kind)
    assert COLOUR.items(body, f"image/{kind.lower()}") == [body]
    assert np.abs(encode(body).mean(axis=(1, 2)) - [200, 100, 50]).max() < 5
    assert f"image/{kind.lower()}" in ImageInput.media_types


@pytest.mark.parametrize("kind", ["TIFF", "ICO", "PPM", "TGA", "PDF", "EPS"])
def test_other_formats_are_refused(kind: str) -> None:
    body = file(Image.new("RGB", (16, 16)), kind)
    with pytest.raises(ItemMismatch, match="expected a PNG, JPEG, WEBP, GIF, BMP picture"):
        encode(body)


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "L", "1", "RGB"])
def test_pictures_in_other_colour_spaces_are_read(mode: str) -> None:
    picture = Image.new("RGB", (6, 4), (255, 255, 255)).convert(mode)
    kind = "PNG" if mode == "1" else "JPEG"
    assert encode(file(picture, kind)).min() > 250


def test_a_cmyk_jpeg_keeps_its_colours() -> None:
    picture = Image.new("RGB", (16, 16), (250, 10, 10)).convert("CMYK")
    red, green, blue = encode(file(picture, "JPEG", quality=95)).mean(axis=(1, 2))
    assert red > 230
    assert max(green, blue) < 40


def test_a_16_bit_grey_png_is_scaled_not_clipped() -> None:
    deep = np.array([[0, 257, 32896], [65535, 300, 514]], np.uint16)
    pixels = encode(file(Image.fromarray(deep)), ImageInput(height=2, width=3, channels=1))
    assert pixels[0].tolist() == [[0, 1, 128], [255, 1, 2]]


def test_transparency_is_laid_on_the_background() -> None:
    clear = Image.new("RGBA", (6, 4), (200, 100, 50, 0))
    half = Image.new("RGBA", (6, 4), (0, 0, 0, 128))
    backgrounds: tuple[tuple[Literal["black", "white"], int, int], ...] = (
        ("white", 255, 127),
        ("black", 0, 0),
    )
    for name, behind, mixed in backgrounds:
        spec = ImageInput(height=4, width=6, background=name)
        for kind in ("PNG", "WEBP"):
            options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
            assert (encode(file(clear, kind, **options), spec) == behind).all()
            assert np.abs(encode(file(half, kind, **options), spec).astype(int) - mixed).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_transparent_palette_entry_is_laid_on_the_background(kind: str) -> None:
    picture = Image.new("P", (6, 4), 1)
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.putpixel((0, 0), 0)
    pixels = encode(file(picture, kind, transparency=1))
    assert pixels[:, 0, 0].tolist() == [10, 20, 30]
    assert (pixels[:, 1:] == 255).all()


def test_palette_entries_may_be_half_transparent() -> None:
    picture = Image.new("P", (6, 4), 1)
    picture.putpalette([10, 20, 30, 0, 0, 0])
    pixels = encode(file(picture, "PNG", transparency=bytes([255, 128])))
    assert np.abs(pixels.astype(int) - 127).max() <= 1


def test_a_grey_picture_with_a_transparent_level_is_read() -> None:
    picture = Image.new("L", (6, 4), 7)
    assert (encode(file(picture, "PNG", transparency=7)) == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_photo_is_turned_upright_by_its_exif(kind: str, orientation: int) -> None:
    upright = Image.new("L", (48, 32), 0)
    upright.paste(255, (0, 0, 24, 16))  # top left
    turns = {
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }
    stored = upright
    for turn in turns.get(orientation, []):
        stored = stored.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    body = file(stored.convert("RGB"), kind, exif=exif)
    encoded = ImageInput(height=32, width=48, channels=1).encoder(Path())(body, None)
    assert encoded.context == {"width": 48, "height": 32}
    grey = encoded.tensors["image"][0, 0].astype(int)
    assert np.abs(grey - np.asarray(upright, int)).max() < 40


def test_an_animation_is_refused_with_its_frames() -> None:
    frames = [Image.new("L", (6, 4), shade) for shade in (0, 100, 200)]
    for kind in ("GIF", "WEBP", "PNG"):
        body = file(frames[0], kind, save_all=True, append_images=frames[1:])
        with pytest.raises(
            ItemMismatch, match="expected one picture; got an animation of 3 frames"
        ):
            encode(body)


def test_another_size_is_scaled_to_the_models() -> None:
    picture = Image.new("RGB", (60, 8), (0, 0, 0))
    picture.paste((255, 255, 255), (30, 0, 60, 8))
    pixels = encode(file(picture))
    assert (pixels[:, :, :2] == 0).all()
    assert (pixels[:, :, 4:] == 255).all()


def test_a_single_pixel_is_a_picture() -> None:
    assert (encode(file(Image.new("L", (1, 1), 77))) == 77).all()


# --- damage and malice -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9])
def test_a_truncated_picture_is_refused(kind: str, share: float) -> None:
    body = file(Image.fromarray(noise(64, 64, 3)), kind)
    with pytest.raises(ItemMismatch, match="that do not decode"):
        encode(body[: int(len(body) * share)])


@pytest.mark.parametrize("side", [8_000, 11_000, 20_000, 100_000])
@pytest.mark.filterwarnings("ignore:Image size")  # as in a server; PIL warns of middle sizes
def test_a_decompression_bomb_is_refused_before_it_is_decoded(side: int) -> None:
    compressor = zlib.compressobj(1)
    rows = bytes(1_000_000)
    body = b"".join(compressor.compress(rows) for _ in range(min(side * side // 1_000_000, 400)))
    body += compressor.flush()
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    assert len(bomb) < 4_000_000
    peak, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(ItemTooLarge, match="expected at most 50,000,000 pixels; got"):
        encode(bomb)
    assert time.monotonic() - started < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 20_000  # kB


def test_the_limit_of_pixels_is_the_specs() -> None:
    spec = ImageInput(height=4, width=6, max_pixels=24)
    encode(file(Image.new("L", (6, 4))), spec)
    for item in (file(Image.new("L", (5, 5))), noise(5, 5).tolist()):
        with pytest.raises(ItemTooLarge, match="expected at most 24 pixels; got 5×5"):
            encode(item, spec)


def test_a_png_by_hand_is_read() -> None:
    """So the bombs above are refused for their size and for nothing else."""
    spec = ImageInput(height=2, width=3, channels=1)
    assert encode(png(3, 2, b"\0\1\2\3" * 2), spec).tolist() == [[[1, 2, 3], [1, 2, 3]]]


def _seeds() -> list[bytes]:
    picture = Image.fromarray(noise(20, 20, 3))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a photo"
    frames: dict[str, Any] = {"save_all": True, "append_images": [picture.rotate(90)]}
    return [
        *(file(picture, kind) for kind in FORMATS),
        *(file(picture, kind, exif=exif) for kind in ("JPEG", "PNG", "WEBP")),
        *(file(picture, kind, **frames) for kind in ("GIF", "PNG", "WEBP")),
        file(picture.convert("P"), "PNG", transparency=bytes(range(256))),
        file(picture.convert("CMYK"), "JPEG"),
    ]


@settings(max_examples=400)
@given(
    body=st.sampled_from(_seeds()),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
    cut=st.floats(0.3, 1),
    near_the_head=st.booleans(),
)
def test_a_damaged_picture_is_read_or_refused(
    body: bytes, changes: list[tuple[float, int]], cut: float, near_the_head: bool
) -> None:
    damaged = bytearray(body[: int(len(body) * cut)])
    for place, value in changes:
        damaged[int(place * (min(150, len(damaged)) if near_the_head else len(damaged)))] = value
    try:
        encode(bytes(damaged))
    except ItemError as error:
        assert isinstance(error, (ItemMismatch, ItemTooLarge))  # noqa: PT017 - either is right


@given(
    arrays.arrays(
        np.uint8,
        st.tuples(st.integers(1, 9), st.integers(1, 9))
        | st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 4])),
    ),
    st.sampled_from([1, 3]),
)
def test_any_pixels_become_the_declared_shape(pixels: Pixels, channels: Literal[1, 3]) -> None:
    encode(pixels.tolist(), ImageInput(height=5, width=7, channels=channels))


@pytest.mark.parametrize(
    ("sent", "seen"), [((80, 20), (8, 2)), ((3, 12), (2, 8)), ((7, 7), (8, 8)), ((900, 1), (8, 1))]
)
def test_a_padded_picture_keeps_its_proportions_at_the_top_left(
    sent: tuple[int, int], seen: tuple[int, int]
) -> None:
    kind = ImageInput(height=8, width=8, fit="pad")
    encoded = kind.encoder(Path())([[[0, 0, 0]] * sent[0]] * sent[1], None)
    pixels = encoded.tensors["image"][0]
    assert pixels.shape == (3, 8, 8)
    assert (pixels[:, : seen[1], : seen[0]] == 0).all()
    assert (pixels[:, seen[1] :] == 255).all()
    assert (pixels[:, :, seen[0] :] == 255).all()
    assert encoded.context == {
        "width": sent[0], "height": sent[1], "filled": (seen[0] / 8, seen[1] / 8),
    }  # fmt: skip
