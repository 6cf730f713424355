"""Drawings as SVG, which a page holds as they are: curves, a row of a heat map, bars of chosen values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from nncf_slb.reports.formatting import digits, mark_texts, percent, with_minus
from nncf_slb.reports.scales import Scale, fitted, thinned, whole_marks

Point = tuple[float, float]
_WIDTH, _HEIGHT = 380, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 14, 12, 38
_MOST_POINTS, _MOST_TIPS = 400, 80
LEVELS = 10
_BARS_WIDTH, _BARS_HEIGHT = 180, 96
_FEW_BARS = 4


@dataclass(frozen=True)
class Series:
    """One curve.

    Attributes:
        label: What it is of.
        points: Places along the horizontal axis, ascending, and numbers.
        style: Index of its colour and dashes.
    """

    label: str
    points: Sequence[Point]
    style: int = 0


@dataclass(frozen=True)
class Curves:
    """A chart of curves.

    Attributes:
        name: Short name, for the parts of the drawing.
        title: What is drawn.
        unit: Unit of the numbers, for the axis.
        along: What the horizontal axis counts.
        series: Its curves, at least one of which has points.
        references: Horizontal lines by their label.
        logarithmic: Whether equal ratios are equally far apart.
        share: Whether the numbers are shares, to be shown in per cent.
    """

    name: str
    title: str
    unit: str
    along: str
    series: Sequence[Series]
    references: dict[str, float] = field(default_factory=dict)
    logarithmic: bool = False
    share: bool = False

    def shown(self, number: float) -> str:
        """Text of a number."""
        if self.share:
            return percent(number)
        return f"{number:.3g}" if self.logarithmic else digits(number, 4 if self.unit == "%" else 3)

    @property
    def last(self) -> list[tuple[Series, str]]:
        """Last number of each curve, as text."""
        return [(each, self.shown(each.points[-1][1])) for each in self.series if each.points]

    def svg(self) -> Markup:
        """The drawing."""
        numbers = [number for each in self.series for _, number in each.points] + list(self.references.values())
        places = [place for each in self.series for place, _ in each.points]
        y, y_marks = fitted(numbers, _HEIGHT - _BOTTOM, _TOP, self.logarithmic)
        x = Scale(min(places), max(places), _LEFT, _WIDTH - _RIGHT)
        texts = [f"{mark:g}" for mark in y_marks] if self.logarithmic else mark_texts(y_marks, self.share)
        parts = [_grid(y, y_marks, texts), _axis(x, int(min(places)), int(max(places)), self.along)]
        parts += [_curve(each, x, y) for each in self.series if each.points]
        parts += [_reference(y(value), label) for label, value in self.references.items()]
        if sum(len(each.points) for each in self.series) <= _MOST_TIPS:
            parts += [_tips(each, x, y, self) for each in self.series]
        described = "; ".join(f"{each.label}: {self._described(each)}" for each in self.series if each.points)
        return _drawing(self.name, f"0 0 {_WIDTH} {_HEIGHT}", self.title, described, parts)

    def _described(self, each: Series) -> str:
        first, last = each.points[0], each.points[-1]
        return f"{self.shown(first[1])} at {self.along} {first[0]:g}, {self.shown(last[1])} at {self.along} {last[0]:g}"


def heat_row(label: str, shares: Sequence[float | None], low: float, most: int, described: str) -> Markup:
    """A strip of fields, one for each share, the more intense the higher.

    Args:
        label: What it is of.
        shares: From 0 to 1; None leaves a gap.
        low: Share of the faintest field.
        most: Fields that there may be; of more shares, evenly spread ones are drawn.
        described: What the strip shows, in words.
    """
    kept = [shares[index] for index in thinned(len(shares), most)]
    fields: dict[int, list[str]] = {}
    start = 0
    levels = [None if share is None else level(share, low) for share in kept]
    for index in range(1, len(levels) + 1):
        if index == len(levels) or levels[index] != levels[start]:
            if (at := levels[start]) is not None:
                fields.setdefault(at, []).append(f"M{start} 0h{index - start}v1h-{index - start}z")
            start = index
    paths = Markup("").join(
        Markup('<path class="h{}" d="{}"/>').format(at, "".join(d)) for at, d in sorted(fields.items())
    )
    return Markup(
        '<svg class="strip" role="img" aria-label="{}" viewBox="0 0 {} 1" preserveAspectRatio="none">{}</svg>'
    ).format(f"{label}: {described}", max(1, len(kept)), paths)


def level(share: float, low: float) -> int:
    """Intensity of a field, from 0 to ``LEVELS - 1``."""
    return max(0, min(LEVELS - 1, int((share - low) / max(1e-9, 1 - low) * LEVELS)))


def bars(name: str, label: str, values: Sequence[float], shares: Sequence[float]) -> Markup:
    """Bars of the share of weights at each value.

    Args:
        name: Short name, for the parts of the drawing.
        label: What they are of.
        values: The values, ascending; may be unknown and empty.
        shares: Their shares, 0 to 1.
    """
    top, floor, tallest = 16, _BARS_HEIGHT - 18, max([*shares, 1e-9])
    step = _BARS_WIDTH / max(1, len(shares))
    width = step * 0.76
    outline = ""
    texts = []
    for index, share in enumerate(shares):
        left, height = index * step + (step - width) / 2, share / tallest * (floor - top)
        outline += f"M{left:.1f} {floor}v-{height:.1f}h{width:.1f}v{height:.1f}z"
        middle = left + width / 2
        if len(shares) <= _FEW_BARS:
            texts.append(_text(middle, floor - height - 4, percent(share, 0), "middle"))
        if values and index in _labelled(len(shares)):
            texts.append(_value(values[index], middle, index, len(shares)))
    parts = [Markup('<path class="bar" d="{}"/>').format(outline), _line(0, _BARS_WIDTH, floor, "axis"), *texts]
    named = [digits(value, 2) for value in values] or [f"value {index}" for index in range(len(shares))]
    described = ", ".join(f"{value}: {percent(share)}" for value, share in zip(named, shares, strict=False))
    return _drawing(name, f"0 0 {_BARS_WIDTH} {_BARS_HEIGHT}", label, described, parts)


def _value(value: float, middle: float, index: int, count: int) -> Markup:
    """The value below a bar; of many narrow ones, the outer values stay within the drawing."""
    text, place = with_minus(digits(value, 2)), _BARS_HEIGHT - 5
    if count > _FEW_BARS and index in (0, count - 1):
        return _text(0 if index == 0 else _BARS_WIDTH, place, text, "start" if index == 0 else "end")
    return _text(middle, place, text, "middle")


def _labelled(count: int) -> set[int]:
    return set(range(count)) if count <= _FEW_BARS else {0, (count - 1) // 3, count - 1 - (count - 1) // 3, count - 1}


def _drawing(name: str, box: str, title: str, described: str, parts: Sequence[Markup]) -> Markup:
    return Markup(
        '<svg role="img" aria-labelledby="{0}-t {0}-d" viewBox="{1}"><title id="{0}-t">{2}</title>'
        '<desc id="{0}-d">{3}</desc>{4}</svg>'
    ).format(name, box, title, described, Markup("").join(parts))


def _grid(y: Scale, marks: Sequence[float], texts: Sequence[str]) -> Markup:
    parts = []
    for mark, text in zip(marks, texts, strict=True):
        place = y(mark)
        parts.append(_line(_LEFT, _WIDTH - _RIGHT, place, "grid"))
        parts.append(_text(_LEFT - 6, place + 4, text, "end"))
    return Markup("").join(parts)


def _axis(x: Scale, first: int, last: int, along: str) -> Markup:
    parts = [_line(_LEFT, _WIDTH - _RIGHT, _HEIGHT - _BOTTOM, "axis")]
    parts += [_text(x(mark), _HEIGHT - _BOTTOM + 15, f"{mark:,}", "middle") for mark in whole_marks(first, last)]
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 5, along, "middle"))
    return Markup("").join(parts)


def _reference(place: float, label: str) -> Markup:
    return _line(_LEFT, _WIDTH - _RIGHT, place, "reference") + _text(_LEFT + 4, place - 4, label, "start", "over")


def _curve(each: Series, x: Scale, y: Scale) -> Markup:
    kept = [each.points[index] for index in thinned(len(each.points), _MOST_POINTS)]
    path = "".join(f"{'L' if index else 'M'}{x(a):.1f} {y(b):.1f}" for index, (a, b) in enumerate(kept))
    end = Markup('<circle class="dot s{}" cx="{:.1f}" cy="{:.1f}" r="3.5"/>').format(
        each.style, x(kept[-1][0]), y(kept[-1][1])
    )
    return Markup('<path class="curve s{}" d="{}"/>').format(each.style, path) + end


def _tips(each: Series, x: Scale, y: Scale, curves: Curves) -> Markup:
    return Markup("").join(
        Markup('<circle class="tip" cx="{:.1f}" cy="{:.1f}" r="7"><title>{}</title></circle>').format(
            x(place), y(number), f"{each.label}, {curves.along} {place:g}: {curves.shown(number)}"
        )
        for place, number in each.points
    )


def _line(left: float, right: float, place: float, kind: str) -> Markup:
    return Markup('<path class="{}" d="M{} {:.1f}H{}"/>').format(kind, left, place, right)


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> Markup:
    named = Markup(' class="{}"').format(kind) if kind else ""
    return Markup('<text{} x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(named, x, y, anchor, text)
