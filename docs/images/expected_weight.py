"""Draws the figure of docs/how-it-works.md: how the expected weight of a latent becomes a staircase.

python docs/images/expected_weight.py    writes expected_weight.svg beside this file
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # files only, no window

import matplotlib.pyplot as plt
import torch

from nncf_slb.search.distribution import expected_value, logits_from_weight
from nncf_slb.search.temperature import CURVES
from nncf_slb.search.values import make_values

PICTURE = Path(__file__).with_suffix(".svg")
BITS = 2
INVERSE_TEMPERATURES = (1.0, 4.0, 20.0)
START, END, END_FRACTION = 1.0, 20.0, 0.85  # the defaults of `params`
SHARPNESS = 2.0  # the default of `initializer.sharpness`


def draw(picture: Path) -> None:
    """Write the figure."""
    chosen = make_values("uniform", BITS)
    values = torch.tensor(chosen.table) * chosen.step
    latents = torch.linspace(-1.2, 1.2, 481)
    logits = logits_from_weight(latents, values, SHARPNESS)
    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": "expected_weight", "font.size": 10}):
        figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
        for value in values.tolist():
            left.axhline(value, color="0.85", linewidth=1, zorder=0)
        for shade, inverse_temperature in zip(("#9fc3de", "#3d8ec9", "#003a66"), INVERSE_TEMPERATURES, strict=True):
            expected = expected_value(logits, values, inverse_temperature)
            left.plot(latents, expected, color=shade, label=f"1/\N{GREEK SMALL LETTER TAU} = {inverse_temperature:g}")
        left.set(xlabel="latent, in units of the scale", ylabel="expected weight", yticks=values.tolist())
        left.set_yticklabels([f"{value:+.2f}" for value in values.tolist()])
        left.legend(frameon=False)
        curve = CURVES["exponential"]
        share = torch.linspace(0, 1, 201).tolist()
        right.plot(share, [curve(START, END, min(x / END_FRACTION, 1)) for x in share], color="#003a66")
        right.axvspan(END_FRACTION, 1, color="#d6e8f5", linewidth=0)
        right.annotate(
            "training with\nnearest values", ((1 + END_FRACTION) / 2, 6), rotation=90, ha="center", va="center"
        )
        right.set(xlabel="share of the training", ylabel="1/\N{GREEK SMALL LETTER TAU}", xlim=(0, 1), ylim=(0, END + 1))
        figure.savefig(picture, metadata={"Date": None})
        plt.close(figure)


if __name__ == "__main__":
    draw(PICTURE)
