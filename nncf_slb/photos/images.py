"""Photographs as arrays: reading, writing and bicubic enlargement with Pillow (extra ``images``)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nncf_slb.errors import SLBError, printable
from nncf_slb.files import new_file
from nncf_slb.photos.ycbcr import FloatArray

if TYPE_CHECKING:
    from PIL import Image

_GREY = {"1", "L", "LA", "La"}
_COLOUR = {"P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"}
# Colour spaces that reading changes: their profile would be wrong for the result.
_CONVERTED = {"CMYK", "YCbCr", "HSV"}
_WIDE_FORMATS = {"PNG", "PPM"}  # a mode of 32 bits that holds 16
_LARGEST_CODE = {8: np.float32(255), 16: np.float32(65535)}


class ImageError(SLBError, RuntimeError):
    """An image file that cannot be read or written, with the reason and the remedy."""


@dataclass(frozen=True)
class Photo:
    """An image.

    Attributes:
        values: float32 in [0, 1]; [1, height, width] of a grey image, [3, height, width] (R, G, B) of others.
        alpha: Opacity, float32 in [0, 1], [1, height, width]; None if the file has none.
        bits: Bits of each value in the file, 8 or 16.
        icc_profile: Colour profile, where the file has one for these values.
    """

    values: FloatArray
    alpha: FloatArray | None = None
    bits: int = 8
    icc_profile: bytes | None = None


@dataclass(frozen=True)
class Format:
    """What files with one suffix can hold.

    Attributes:
        name: Pillow's.
        alpha: Whether pixels can be transparent.
        bits: Largest number of bits of a grey value.
        longest_side: Pixels; None without limit.
        options: How Pillow writes it.
    """

    name: str
    alpha: bool
    bits: int = 8
    longest_side: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


_PNG = Format("PNG", alpha=True, bits=16)
_TIFF = Format("TIFF", alpha=True, bits=16, options={"compression": "tiff_lzw"})
_WEBP = Format("WEBP", alpha=True, longest_side=16383, options={"lossless": True})
# Subsampling would halve the resolution of the colours that were enlarged before.
_JPEG = Format("JPEG", alpha=False, longest_side=65500, options={"quality": 95, "subsampling": 0})
_FORMATS = {".png": _PNG, ".tif": _TIFF, ".tiff": _TIFF, ".webp": _WEBP, ".jpg": _JPEG, ".jpeg": _JPEG}


def find_format(path: str | Path) -> Format:
    """Format that the suffix of a name stands for, in upper or lower case.

    Raises:
        ImageError: If it stands for none that can be written.
    """
    form = _FORMATS.get(Path(path).suffix.lower())
    if form is None:
        raise ImageError(f"output: received '{printable(path)}'; allowed are names that end in {', '.join(_FORMATS)}")
    return form


def check_fits(path: str | Path, alpha: bool, height: int, width: int) -> None:
    """Whether a file can hold an image.

    Args:
        path: File to write.
        alpha: Whether the image has alpha.
        height: Pixels of the image to write.
        width: Pixels of the image to write.

    Raises:
        ImageError: If the suffix stands for a format that can't hold alpha, or so many pixels, or for none.
    """
    form = find_format(path)
    if alpha and not form.alpha:
        suffixes = ", ".join(suffix for suffix, candidate in _FORMATS.items() if candidate.alpha)
        raise ImageError(
            f"output: received '{printable(path)}', and {form.name} files cannot hold the transparency that the photo "
            f"has; choose a name that ends in {suffixes}, or remove the transparency from the photo first"
        )
    if form.longest_side is not None and max(height, width) > form.longest_side:
        suffixes = ", ".join(suffix for suffix, candidate in _FORMATS.items() if candidate.longest_side is None)
        raise ImageError(
            f"output: received '{printable(path)}' for {width} x {height} pixels, and {form.name} files hold at most "
            f"{form.longest_side} a side; choose a name that ends in {suffixes}"
        )


def read_photo(path: str | Path) -> Photo:
    """Read an image of any format that Pillow reads, turned as its EXIF orientation says; of several, the first.

    Grey images of 16 bits keep them, unless one of their values stands for transparent. Pillow reads only 8 bits of
    colours with more.

    Raises:
        ImageError: If the file is missing, damaged, no image, larger than Pillow allows or of values without a known
            range, or if Pillow is missing.
    """
    image, form = _decoded(Path(path))
    wide = image.mode.startswith("I")
    if not (wide or image.mode in _GREY | _COLOUR) or (image.mode == "I" and form not in _WIDE_FORMATS):
        raise ImageError(
            f"{printable(path)}: its values are of Pillow's mode {image.mode}; allowed are 8 bits, and 16 bits of "
            "grey: save it as PNG"
        )
    return _grey_of_16_bits(image) if wide else _of_8_bits(image)


def _decoded(source: Path) -> tuple[Image.Image, str | None]:
    """Image and name of its format."""
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError as error:
        raise ImageError(f"Photos need the extra 'images': pip install '.[images]' ({error})") from error
    shown = printable(source)
    if not source.is_file():
        raise ImageError(f"{shown}: there is no such file")
    try:
        with warnings.catch_warnings():
            # Pillow warns from half of the pixels on that it refuses, and large cameras have as many.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(source) as image:
                image.load()
                return ImageOps.exif_transpose(image), image.format
    except UnidentifiedImageError as error:
        raise ImageError(f"{shown}: it is no image that Pillow can read; give a PNG or JPEG file") from error
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise ImageError(
            f"{shown}: it has more than the {limit:,} pixels that Pillow reads, since small files can claim sizes "
            "that fill the memory; cut the photo into parts"
        ) from error
    except Exception as error:  # decoders that meet damaged data raise almost anything
        raise ImageError(
            f"{shown}: it is damaged or cannot be read ({printable(error)}); copy or save it again"
        ) from error


def _grey_of_16_bits(image: Image.Image) -> Photo:
    codes = np.asarray(image)
    values = codes[None].astype(np.float32) / _LARGEST_CODE[16]
    transparent = image.info.get("transparency")
    # No format here holds alpha beside 16 bits that Pillow could write.
    alpha, bits = (None, 16) if transparent is None else ((codes[None] != transparent).astype(np.float32), 8)
    return Photo(values, alpha, bits, image.info.get("icc_profile"))


def _of_8_bits(image: Image.Image) -> Photo:
    profile = None if image.mode in _CONVERTED else image.info.get("icc_profile")
    colours = "L" if image.mode in _GREY else "RGB"
    planes = np.asarray(image.convert(colours + "A" if image.has_transparency_data else colours))
    planes = planes[None] if planes.ndim == 2 else planes.transpose(2, 0, 1)
    values = planes.astype(np.float32) / _LARGEST_CODE[8]
    count = len(colours)
    return Photo(values[:count], values[count:] if len(values) > count else None, 8, profile)


def write_photo(photo: Photo, path: str | Path) -> None:
    """Write an image, values outside [0, 1] cut off; folders are made, and an existing file is replaced at the end.

    Grey values of 16 bits stay so where the format can hold them (PNG, TIFF), and become 8 bits elsewhere.

    Raises:
        ImageError: As `check_fits`, or if the file cannot be written.
    """
    from PIL import Image

    form = find_format(path)
    check_fits(path, photo.alpha is not None, *photo.values.shape[1:])
    bits = min(photo.bits, form.bits)
    planes = photo.values if photo.alpha is None else np.concatenate([photo.values, photo.alpha])
    codes = np.rint(planes.clip(0, 1) * _LARGEST_CODE[bits]).astype(np.uint16 if bits == 16 else np.uint8)
    image = Image.fromarray(codes[0] if len(codes) == 1 else np.ascontiguousarray(codes.transpose(1, 2, 0)))
    try:
        with new_file(Path(path)) as partial:
            image.save(partial, form.name, icc_profile=photo.icc_profile, **form.options)
    except OSError as error:
        raise ImageError(
            f"output: received '{printable(path)}', which cannot be written ({printable(error)})"
        ) from error


def resize_bicubic(values: FloatArray, height: int, width: int) -> FloatArray:
    """Pillow's bicubic resampling (a = -0.5) of float32 [channels, h, w] to [channels, height, width]."""
    from PIL import Image

    planes = [Image.fromarray(plane).resize((width, height), Image.Resampling.BICUBIC) for plane in values]
    return np.stack([np.asarray(plane) for plane in planes])
