"""Image items: base64, a data: URI, raw bytes or nested pixels → uint8 ``[1, C, H, W]``.

Only structure is done here (decode, orient, flatten, resize); scaling to floats is in the graph.
"""

import base64
import binascii
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from model_store.errors import ItemError, ItemMismatch, ItemTooLarge
from model_store.picture_cells import cells
from model_store.spec import (
    Divider,
    Encoded,
    Encoder,
    InputKind,
    Parts,
    numbers,
    show,
    show_names,
)

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
"""What PIL may try. Its other parsers stay out of reach of strangers' bytes."""
WANTED = 'expected {"b64": "…"}, a data: URI or nested pixel arrays (H×W or H×W×C, 0–255)'


class ImageInput(InputKind):
    """A picture, resized to the graph's size, or as large as it came where the graph takes any.
    Transparency is laid on ``background``.

    ``fit``: ``stretch`` gives every picture the graph's proportions; ``pad`` keeps its own, at the
    top left, and fills the rest with ``background``.
    """

    media_types: ClassVar[tuple[str, ...]] = tuple(f"image/{f.lower()}" for f in FORMATS)

    compressed: ClassVar[bool] = True

    kind: Literal["image"] = "image"
    tensor: str = "image"
    height: int | None = Field(default=None, gt=0, description="None, like width: as it was sent")
    width: int | None = Field(default=None, gt=0)
    channels: Literal[1, 3] = 3
    background: Literal["black", "white"] = "white"
    fit: Literal["stretch", "pad"] = "stretch"
    max_pixels: int = 50_000_000

    @model_validator(mode="after")
    def _both_sides_or_none(self) -> Self:
        if (self.height is None) != (self.width is None):
            raise ValueError("height and width: expected both or none")
        return self

    def encoder(self, folder: Path) -> Encoder:
        del folder

        def encode(item: object, parameters: Any) -> Encoded:
            del parameters
            picture = self.open(item)
            context: dict[str, Any] = {"width": picture.width, "height": picture.height}
            if self.fit == "pad" and self.width and self.height:
                wide, tall = self.size(picture)
                context["filled"] = (wide / self.width, tall / self.height)
            return Encoded({self.tensor: self.pixels(picture)[None]}, context)

        return encode

    @property
    def divisible(self) -> bool:
        return True

    def divider(self, folder: Path) -> Divider:
        del folder

        def divide(item: object, parameters: Any) -> Parts:
            del parameters
            picture = self.open(item)
            return cells(self.tensor, self.pixels(picture), self.size(picture), picture.size)

        return divide

    def body(self, item: object) -> tuple[bytes, str]:
        data = _bytes(item)
        if data is None:
            raise ItemMismatch("pixels have no raw form; send them as JSON")
        from PIL import Image

        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            return data, f"image/{str(picture.format).lower()}"

    def open(self, item: object) -> "Image":
        """The item as an upright picture in the model's channels. Raises ItemError."""
        from PIL import Image, ImageOps

        data = _bytes(item)
        if data is None:
            return self._from_pixels(item)
        try:
            picture = Image.open(io.BytesIO(data), formats=FORMATS)
            self._check(picture)
            return self._flatten(ImageOps.exif_transpose(picture))
        except ItemError:
            raise
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise ItemTooLarge(f"expected at most {self.max_pixels:,} pixels; got more") from None
        except Exception as error:  # noqa: BLE001 - PIL's parsers raise whatever they trip over
            raise ItemMismatch(
                f"expected a {', '.join(FORMATS)} picture; got {show(data)} that do not decode"
                f" ({type(error).__name__})"
            ) from None

    def pixels(self, picture: "Image") -> np.ndarray[Any, np.dtype[np.uint8]]:
        """uint8 ``[C, H, W]`` at the graph's size."""
        from PIL import Image

        size = self.size(picture)
        if picture.size != size:
            picture = picture.resize(size, Image.Resampling.BILINEAR)
        if self.width and self.height and size != (self.width, self.height):
            canvas = Image.new(picture.mode, (self.width, self.height), self.background)
            canvas.paste(picture)
            picture = canvas
        array = np.asarray(picture, dtype=np.uint8)
        return array[None] if self.channels == 1 else np.ascontiguousarray(array.transpose(2, 0, 1))

    def size(self, picture: "Image") -> tuple[int, int]:
        """Width and height that a picture has in the graph's input."""
        if not self.width or not self.height:
            return picture.size
        if self.fit == "stretch":
            return self.width, self.height
        scale = min(self.width / picture.width, self.height / picture.height)
        return max(1, round(scale * picture.width)), max(1, round(scale * picture.height))

    def _check(self, picture: "Image") -> None:
        if picture.width * picture.height > self.max_pixels:
            raise ItemTooLarge(
                f"expected at most {self.max_pixels:,} pixels; got {picture.width}×{picture.height}"
            )
        frames = getattr(picture, "n_frames", 1)
        if frames > 1:
            raise ItemMismatch(f"expected one picture; got an animation of {frames} frames")

    def _flatten(self, picture: "Image") -> "Image":
        from PIL import Image

        if picture.mode.startswith("I") or picture.mode == "F":
            # 16-bit greys: PIL's own conversion clips instead of scaling.
            grey = np.asarray(picture, dtype=np.float64) / 257
            picture = Image.fromarray(grey.clip(0, 255).round().astype(np.uint8))
        if picture.has_transparency_data:
            rgba = picture.convert("RGBA")
            canvas = Image.new("RGBA", rgba.size, self.background)
            picture = Image.alpha_composite(canvas, rgba)
        return picture.convert("L" if self.channels == 1 else "RGB")

    def _from_pixels(self, item: object) -> "Image":
        from PIL import Image

        if not isinstance(item, list):
            raise ItemMismatch(f"{WANTED}; got {show(item)}")
        array = numbers(item, field="pixels")
        if array.ndim == 3 and array.shape[2] == 1:
            array = array[:, :, 0]
        if not array.size or not (
            array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
        ):
            raise ItemMismatch(
                f"expected H×W or H×W×C with C of 1, 3 or 4; got shape {list(array.shape)}",
                field="pixels",
            )
        if array.min() < 0 or array.max() > 255:
            raise ItemMismatch(
                f"expected values from 0 to 255; got {array.min():g} to {array.max():g}",
                field="pixels",
            )
        picture = Image.fromarray(array.round().astype(np.uint8))
        self._check(picture)
        return self._flatten(picture)


def _bytes(item: object) -> bytes | None:
    """The encoded picture, or None where the item is pixels."""
    if isinstance(item, bytes):
        return item
    if isinstance(item, dict):
        if set(item) != {"b64"} or not isinstance(item["b64"], str):
            raise ItemMismatch(f"{WANTED}; got keys {show_names(item)}")
        return _base64(item["b64"], "b64")
    if isinstance(item, str):
        head, comma, body = item.partition(",")
        if not (comma and head.startswith("data:") and head.endswith(";base64")):
            raise ItemMismatch(f"{WANTED}; got the string {show(item)}")
        return _base64(body, "data")
    return None


def _base64(text: str, field: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ItemMismatch(f"expected base64; got {show(text)}", field=field) from None
