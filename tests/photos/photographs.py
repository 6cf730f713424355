"""Photographs, networks that enlarge them, and IRs of these."""

from functools import lru_cache

import numpy as np
import openvino as ov
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import nn

import nncf_slb

PHOTO = load_sample_images().images[0][150:203, 300:377]  # odd in both directions: 53 x 77
FLOWER = load_sample_images().images[1][100:161, 200:281]


class Repeat(nn.Module):
    """Each pixel becomes scale x scale: the result is known."""

    def __init__(self, scale):
        super().__init__()
        self.shuffle, self.scale = nn.PixelShuffle(scale), scale

    def forward(self, x):
        return self.shuffle(x.repeat_interleave(self.scale**2, dim=1))


@lru_cache
def repeat(scale):
    return Repeat(scale)


RADIUS = 4  # of Convolutions: 2 + 1 + 1


@lru_cache
def convolutions(channels, scale):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
        nn.Conv2d(8, channels * scale**2, 3, padding=1), nn.PixelShuffle(scale),
    ).eval()  # fmt: skip


@lru_cache
def converted(network, shapes):
    examples = tuple(torch.zeros([64 if length == -1 else length for length in shape]) for shape in shapes)
    example = examples if len(examples) > 1 else examples[0]
    return ov.convert_model(network.eval(), example_input=example, input=[ov.PartialShape(shape) for shape in shapes])


def ir(folder, network, *shapes):
    """File of a network; by default for photos of 1 channel and any size."""
    ov.save_model(converted(network, shapes or ((-1, 1, -1, -1),)), folder / "m.xml", compress_to_fp16=False)
    return folder / "m.xml"


def saved(folder, pixels, name="photo.png", **settings):
    Image.fromarray(pixels).save(folder / name, **settings)
    return folder / name


def upscaled(folder, pixels, model, output="out.png", **settings):
    nncf_slb.upscale_image(saved(folder, pixels), model, folder / output, **settings)
    return np.asarray(Image.open(folder / output))


def repeated(pixels, scale):
    return pixels.repeat(scale, axis=0).repeat(scale, axis=1)
