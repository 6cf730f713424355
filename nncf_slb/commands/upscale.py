"""``nncf-slb upscale``: a photo, enlarged."""

from __future__ import annotations

import argparse
from pathlib import Path

from nncf_slb.commands.command import GOOD, Command, Result
from nncf_slb.commands.device_options import add_device, properties
from nncf_slb.photos.tiling import DEFAULT_OVERLAP


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("photo", type=Path, help="image file: PNG, JPEG or whatever else Pillow reads")
    add("--model", type=Path, required=True, help=".xml file")
    add("-o", "--output", type=Path, required=True, help=".png, .tif, .webp or .jpg file to write")
    add("--tile", type=int, help="pixels of the photo from one tile to the next, for photos that do not fit into "
        "memory (default: the whole photo at once)")  # fmt: skip
    add("--overlap", type=int, default=DEFAULT_OVERLAP, help="pixels around a tile that the network sees too, at least "
        "the radius of its receptive field (default: %(default)s)")  # fmt: skip
    add_device(parser)


def _run(arguments: argparse.Namespace) -> tuple[Result, int]:
    from nncf_slb.photos.upscaling import upscale_image

    result = upscale_image(
        arguments.photo, arguments.model, arguments.output, tile=arguments.tile, overlap=arguments.overlap,
        device=arguments.device, properties=properties(arguments),
    )  # fmt: skip
    return result, GOOD


COMMAND = Command(
    "upscale", "enlarge a photo with the IR of a super-resolution network",
    "upscale photo.jpg --model model.xml -o large.png", _add_arguments, _run,
)  # fmt: skip
