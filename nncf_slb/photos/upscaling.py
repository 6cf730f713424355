"""Super-resolution of photographs with an IR: from file to file, whole or in tiles."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from nncf_slb.errors import DeviceError, SettingError, printable
from nncf_slb.openvino.ir import IrError, compile_ir, device_name, last_line, read_ir, with_shape
from nncf_slb.photos.images import check_fits, read_photo, resize_bicubic, write_photo
from nncf_slb.photos.tiling import DEFAULT_OVERLAP, in_tiles, pieces, window_length
from nncf_slb.photos.ycbcr import FloatArray, grey_to_luma, luma_to_grey, rgb_to_ycbcr, ycbcr_to_rgb

_CHANNELS = (1, 3)
_SMALLEST_SCALE = 2


@dataclass(frozen=True)
class Upscaling:
    """Result of `upscale_image`.

    Attributes:
        photo: File that was read.
        model: The ``.xml`` file.
        output: File that was written.
        device: Processor or accelerator.
        scale: How many times as high and as wide the result is.
        height: Pixels of the result.
        width: Pixels of the result.
        tiles: Inferences.
    """

    photo: str
    model: str
    output: str
    device: str
    scale: int
    height: int
    width: int
    tiles: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON: fields by name."""
        return dataclasses.asdict(self)

    def to_str(self) -> str:
        """One line for the terminal."""
        return (
            f"{printable(self.output)}: {self.width} x {self.height} pixels, {self.scale} times "
            f"{printable(self.photo)}, by {printable(self.model)} on {self.device}, tiles: {self.tiles}"
        )


def upscale_image(
    photo: str | Path,
    model: str | Path,
    output: str | Path,
    *,
    tile: int | None = None,
    overlap: int = DEFAULT_OVERLAP,
    device: str = "CPU",
    properties: dict[str, Any] | None = None,
) -> Upscaling:
    """Enlarge a photo with a super-resolution network.

    A network of 3 channels gets R, G and B in [0, 1]. One of 1 channel gets luma, Y / 255 of YCbCr (BT.601, studio
    range: 16/255 is black, 235/255 white, see `nncf_slb.photos.ycbcr`), also of grey photos; Cb and Cr are enlarged
    bicubically, and so is alpha. A grey photo stays grey.

    Args:
        photo: Image file, of any format that Pillow reads (extra ``images``).
        model: ``.xml`` file of a network, of this package or any other, that takes [batch, channels, height, width]
            with 1 or 3 channels and any height and width, and gives the same with height and width times an integer.
        output: Image file to write: ``.png``, ``.tif``, ``.webp`` or ``.jpg``. Folders are made; an existing file is
            replaced only once the new one is complete.
        tile: Pixels of the photo from one tile to the next; the whole photo goes through at once if None, and where
            it is no larger than a tile with its overlap.
        overlap: Pixels of the photo that the network sees around a tile. From the radius of the network's receptive
            field on, tiles leave no trace. Without effect where `tile` is None.
        device: OpenVINO device to run on.
        properties: Properties to compile with. By default floating point parts run in float32, since bfloat16, which
            some devices choose, has fewer levels than the photo (``INFERENCE_PRECISION_HINT``).

    Returns:
        Sizes, and how many inferences it took.

    Raises:
        nncf_slb.photos.images.ImageError: If the photo cannot be read, the result cannot be written or Pillow is
            missing.
        nncf_slb.openvino.ir.IrError: If the IR cannot be used or is of another kind of network, or `tile` or `overlap`
            is not allowed.
    """
    for name, value, least in (("tile", tile, 1), ("overlap", overlap, 0)):
        if value is not None and value < least:
            raise SettingError(f"{name}: received {value}; allowed is at least {least}")
    image = read_photo(photo)
    _, height, width = image.values.shape
    step = tile or max(height, width)
    ir = read_ir(model)
    window = [1, _channels(ir, model), window_length(height, step, overlap), window_length(width, step, overlap)]
    scale = _scale(with_shape(ir, window, model), window, model)
    size = scale * height, scale * width
    check_fits(output, image.alpha is not None, *size)
    run = _inference(compile_ir(ir, device, {"INFERENCE_PRECISION_HINT": "f32", **(properties or {})}, model), model)
    values = _enlarge(image.values, window[1], lambda planes: in_tiles(run, planes, scale, step, overlap))
    alpha = None if image.alpha is None else resize_bicubic(image.alpha, *size)
    write_photo(dataclasses.replace(image, values=values, alpha=alpha), output)
    tiles = len(pieces(height, step, overlap)) * len(pieces(width, step, overlap))
    return Upscaling(str(photo), str(model), str(output), device_name(device), scale, *size, tiles)


def _channels(ir: ov.Model, path: str | Path) -> int:
    """Channels of a network that takes images of any size."""
    inputs = [port.get_partial_shape() for port in ir.inputs]
    fits = len(inputs) == len(ir.outputs) == 1 and ir.inputs[0].get_element_type().is_real()
    if fits and inputs[0].rank.is_static and len(inputs[0]) == 4:
        batch, channels, height, width = inputs[0]
        free = all(dimension.is_dynamic for dimension in (height, width))
        if free and channels in _CHANNELS and (batch.is_dynamic or batch == 1):
            return int(channels.get_length())
    received = [f"{port.get_element_type().get_type_name()} {port.get_partial_shape()}" for port in ir.inputs]
    raise IrError(
        f"{printable(path)}: it has the inputs {', '.join(received)} and {len(ir.outputs)} outputs; allowed is one "
        "output and one floating point input [batch, channels, height, width] with a batch of 1 or any, 1 or 3 "
        "channels, any height and any width. If only the sizes are fixed, set them free: OpenVINO's "
        "Model.reshape([-1, channels, -1, -1]), then save_model"
    )


def _scale(ir: ov.Model, window: list[int], path: str | Path) -> int:
    """How many times as high and as wide the output is as the input."""
    output = ir.outputs[0].get_partial_shape()
    _, channels, height, width = window
    if output.is_static and len(output) == 4:
        scale = int(output[2].get_length()) // height
        if scale >= _SMALLEST_SCALE and output == ov.PartialShape([1, channels, height * scale, width * scale]):
            return scale
    raise IrError(
        f"{printable(path)}: its output is {output} where its input is {window}; allowed are networks that multiply "
        f"height and width by one integer from {_SMALLEST_SCALE} on and keep the other two"
    )


def _inference(compiled: ov.CompiledModel, path: str | Path) -> Callable[[FloatArray], FloatArray]:
    """From [channels, h, w] to an array that the next inference overwrites."""
    request = compiled.create_infer_request()
    kind = compiled.inputs[0].get_element_type().to_dtype()

    def run(values: FloatArray) -> FloatArray:
        try:
            result = request.infer([values[None].astype(kind)], share_inputs=True, share_outputs=True)
        except RuntimeError as error:
            raise DeviceError(
                f"{printable(path)}: OpenVINO cannot run it on {list(values.shape)} ({last_line(error)}); where "
                "memory is short, set a (smaller) tile"
            ) from error
        output: FloatArray = result[0][0]
        return output

    return run


def _enlarge(values: FloatArray, channels: int, enlarge: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """Grey or RGB by a network of 1 or 3 channels; the result is what `values` is, grey or RGB."""
    grey = len(values) == 1
    if channels == 3:
        rgb = enlarge(np.repeat(values, 3, axis=0) if grey else values)
        return luma_to_grey(rgb_to_ycbcr(rgb)[:1]) if grey else rgb
    if grey:
        return luma_to_grey(enlarge(grey_to_luma(values)))
    ycbcr = rgb_to_ycbcr(values)
    luma = enlarge(ycbcr[:1])
    return ycbcr_to_rgb(np.concatenate([luma, resize_bicubic(ycbcr[1:], *luma.shape[1:])]))
