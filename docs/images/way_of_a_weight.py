"""Draws the README's picture, from weights to bytes, with numbers that the package computes.

python docs/images/way_of_a_weight.py    writes way_of_a_weight.svg beside this file
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from nncf_slb.openvino.packing import pack
from nncf_slb.search.distribution import chosen_codes, logits_from_weight, probabilities
from nncf_slb.search.scale import fit_scale
from nncf_slb.search.values import make_values

PICTURE = Path(__file__).with_suffix(".svg")
WEIGHTS = (0.11, -0.34, 0.05, 0.45, -0.17, 0.27, -0.08, 0.36)
BITS = 2
SHOWN = 5  # whose distribution is drawn
INVERSE_TEMPERATURES = (1.0, 4.0, 20.0)
SHARPNESS = 2.0  # the default of `initializer.sharpness`
_WIDTH, _HEIGHT = 1040, 372
_INK, _PALE, _GREY, _BLUE, _LIGHT = "#1f2933", "#f4f6f8", "#5f6c7b", "#0068b5", "#d6e8f5"
_TOP, _ROW = 84, 30
_MINUS, _TIMES, _TAU = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}", "\N{GREEK SMALL LETTER TAU}"
_SANS, _MONO = "Helvetica, Arial, sans-serif", "Menlo, Consolas, 'DejaVu Sans Mono', monospace"


def _text(x: float, y: float, text: str, size: int = 14, color: str = _INK, **more: str) -> str:
    font = f'font-size="{size}" font-family="{more.pop("font", _SANS)}"'
    rest = "".join(f' {name}="{value}"' for name, value in more.items())
    return f'<text x="{x:g}" y="{y:g}" fill="{color}" text-anchor="middle" {font}{rest}>{text}</text>'


def _signed(number: float, form: str = "+.2f") -> str:
    return f"{number:{form}}".replace("-", _MINUS)


def _box(x: float, y: float, width: float, height: float, fill: str, edge: str = "none") -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="3" fill="{fill}" stroke="{edge}"/>'


def _heading(x: float, title: str, under: str) -> list[str]:
    return [_text(x, 34, title, 18, **{"font-weight": "bold"}), _text(x, 58, under, 14, _GREY)]


def _arrow(x: float, y: float) -> str:
    return f'<path d="M{x:g} {y:g} h22 m-7 -6 l7 6 l-7 6" fill="none" stroke="{_GREY}" stroke-width="2"/>'


def _column(x: float, width: float, cells: Sequence[str]) -> list[str]:
    """One cell for each weight; the one whose distribution is drawn has a blue edge."""
    parts = []
    for row, cell in enumerate(cells):
        top, shown = _TOP + row * _ROW, row == SHOWN
        parts.append(_box(x, top, width, _ROW - 4, _LIGHT if shown else _PALE, _BLUE if shown else "none"))
        parts.append(_text(x + width / 2, top + 18, cell, 15, font=_MONO))
    return parts


def _bars(left: float, shares: Sequence[float], inverse_temperature: float, labels: Sequence[str]) -> list[str]:
    """Probabilities of the values at one temperature."""
    bottom, height, step = _TOP + 180, 140, 42
    highest = max(shares)
    parts = [_text(left + 2 * step, _TOP + 14, f"1/{_TAU} = {inverse_temperature:g}", 15)]
    for index, (share, label) in enumerate(zip(shares, labels, strict=True)):
        x, tall = left + index * step, round(share * height, 1)
        parts.append(_box(x + 5, bottom - tall, step - 10, max(tall, 1), _BLUE if share == highest else "#9fc3de"))
        parts.append(_text(x + step / 2, bottom + 20, label, 12, _GREY))
        parts.append(_text(x + step / 2, bottom - tall - 5, f"{share:.2f}", 12))
    parts.append(f'<path d="M{left:g} {bottom:g} h{4 * step:g}" stroke="{_GREY}"/>')
    return parts


def draw() -> str:
    """The picture as SVG."""
    chosen = make_values("uniform", BITS)
    values = torch.tensor(chosen.table) * chosen.step
    weights = torch.tensor(WEIGHTS)
    scale = float(fit_scale(weights[None], values))
    logits = logits_from_weight(weights / scale, values, SHARPNESS)
    codes = chosen_codes(logits).numpy()
    packed = pack(codes, BITS)
    labels = [_signed(value) for value in values.tolist()]

    parts = [_box(0, 0, _WIDTH, _HEIGHT, "#ffffff")]
    parts += _heading(84, "weights", "float, 32 bits each")
    parts += _column(38, 92, [_signed(weight) for weight in WEIGHTS])
    parts.append(_arrow(138, _TOP + SHOWN * _ROW + 13))
    rule = f"p = softmax(A / {_TAU}) over {len(chosen)} values; training raises 1/{_TAU}"
    parts += _heading(434, "a distribution for each weight", rule)
    for index, inverse_temperature in enumerate(INVERSE_TEMPERATURES):
        shares = probabilities(logits, inverse_temperature)[:, SHOWN].tolist()
        parts += _bars(174 + index * 180, shares, inverse_temperature, labels)
    ratio = _signed(WEIGHTS[SHOWN] / scale)
    parts.append(_text(434, _TOP + 228, f"{_signed(WEIGHTS[SHOWN])} = scale {scale:.3f} {_TIMES} {ratio}", 14, _GREY))
    parts.append(_arrow(718, _TOP + SHOWN * _ROW + 13))
    parts += _heading(792, "codes", f"{BITS} bits each")
    parts += _column(752, 80, [f"{code:0{BITS}b}" for code in codes])
    parts.append(_arrow(840, _TOP + 3.5 * _ROW + 13))
    parts += _heading(942, "bytes in the IR", f"u{BITS}, 4 codes a byte")
    for index, byte in enumerate(packed.tolist()):
        middle = _TOP + index * 4 * _ROW + 2 * _ROW
        groups = " ".join(f"{byte:08b}"[at : at + BITS] for at in range(0, 8, BITS))
        parts += [_box(877, middle - 36, 130, 64, _LIGHT), _text(942, middle - 10, groups, 15, font=_MONO)]
        parts.append(_text(942, middle + 15, f"0x{byte:02x}", 15, _BLUE, font=_MONO))
    numbers = ", ".join(_signed(number, "g") for number in chosen.table)
    below = f"OpenVINO turns the codes 0 to {len(chosen) - 1} into {numbers} when it loads the file."
    parts.append(_text(_WIDTH / 2, _HEIGHT - 18, f"{below} With quantized inputs an int8 kernel runs.", 15))
    size = f'width="{_WIDTH}" height="{_HEIGHT}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" {size}>'
    title = "<title>From weights to bytes: weight, distribution, code, u2 constant</title>"
    return "\n".join([head, title, *parts, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
