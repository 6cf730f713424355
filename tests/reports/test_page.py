"""The page holds everything it shows, in a form that any reader can use, and stays small."""

import itertools
import math
import random
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from nncf_slb.cli import main
from nncf_slb.reports import formatting
from nncf_slb.reports import page as page_module
from nncf_slb.reports.data import read_run
from nncf_slb.reports.page import page, write_report
from nncf_slb.reports.recording import Recording
from nncf_slb.reports.scales import fitted, thinned, whole_marks
from tests.reports.runs import facts, search, write_run

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Elements(HTMLParser):
    """All elements of a page as (name, attributes), and whether each was closed in its place."""

    def __init__(self, text):
        super().__init__()
        self.found, self.open, self.text = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def named(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def elements(*paths):
    return Elements(page([read_run(Path(path), latency=False) for path in paths]))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    search(folder / "searched", bits="auto", budget={"mean_bits": 2.0})
    return [write_run(folder / "trained"), folder / "searched"]


def test_a_page_loads_nothing_and_is_closed(folders):
    found = elements(*folders)
    assert not found.open
    for name, attributes in found.found:
        assert name not in ("link", "img", "iframe", "object", "base")
        assert not {"src", "srcset", "onclick", "onload"} & set(attributes)
        assert attributes.get("href", "#").startswith("#")
    assert not re.search(r"https?:|//[a-z]|@import|url\(", page([read_run(folders[1], latency=False)]))


def test_links_names_and_labels_lead_somewhere(folders):
    found = elements(*folders)
    ids = [attributes["id"] for _, attributes in found.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in found.found:
        for name in ("aria-labelledby", "aria-describedby"):
            assert set(attributes.get(name, "").split()) <= set(ids)
        if attributes.get("href", "").startswith("#"):
            assert attributes["href"][1:] in ids


def test_readers_of_the_screen_get_words_for_every_drawing_and_table(folders):
    found = elements(*folders)
    assert found.named("html")[0]["lang"] == "en" and len(found.named("h1")) == len(found.named("main")) == 1
    for attributes in found.named("svg"):
        said = attributes.get("aria-labelledby") or attributes.get("aria-label")
        assert attributes.get("aria-hidden") == "true" or (attributes["role"] == "img" and said)
    assert len(found.named("caption")) == len(found.named("table"))
    assert all(attributes["scope"] in ("col", "row") for attributes in found.named("th"))
    scrolling = [a for a in found.named("div") if a.get("class") == "scroll"]
    assert scrolling and all(a["tabindex"] == "0" and a["role"] == "region" and a["aria-label"] for a in scrolling)
    levels = [int(name[1]) for name, _ in found.found if re.fullmatch(r"h[1-6]", name)]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_every_section_is_there_for_a_run_with_everything(folders):
    sections = [attributes["id"] for attributes in elements(folders[1]).named("section")]
    assert sections == [
        "compare", "findings", "curves", "confidence", "values", "layers", "sensitivities", "verification", "run",
    ]  # fmt: skip


def luminance(colour):
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first, second):
    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1])
def test_texts_stand_out_from_what_is_behind_them(scheme):
    style = (Path(page_module.__file__).parent / "templates/report.css").read_text()
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        for block in re.findall(r":root \{(.*?)\}", style, re.S)[:2]
    )
    colours = (light, dark)[scheme]
    texts = [
        (name, back) for name in ("ink", "soft", "link", "s0", "s1", "s2", "s3", "reference") for back in ("card",)
    ]
    texts += [(name, "page") for name in ("ink", "soft", "link")]
    texts += [(name, f"{kind}-back") for kind in ("bad", "note", "good") for name in (kind, "ink")]
    for name, back in texts:
        assert contrast(colours[name], colours[back]) >= 4.5, (name, back)
    assert contrast(colours["focus"], colours["card"]) >= 3
    strengths = [luminance(colours[f"h{index}"]) for index in range(10)]
    assert strengths == sorted(strengths, reverse=scheme == 0)


HOSTILE = "</title><script>alert(1)</script>\"' &amp; <b>"


def test_names_from_outside_stay_texts(tmp_path):
    folder = tmp_path / "a<b>&"
    write_run(
        folder, layers=(HOSTILE, "conv2"), network=HOSTILE, data=HOSTILE, commands=[HOSTILE], config={HOSTILE: HOSTILE}
    )
    Recording(folder).network("IR", scores={"test": 98.0}, unit=HOSTILE, agreement=3.0)
    found = elements(folder, folder)
    assert len(found.named("script")) == 1 and not found.named("b")
    assert HOSTILE in "".join(found.text)


def test_a_long_run_of_a_deep_network_stays_below_a_megabyte(tmp_path):
    numbers = random.Random(0)
    names = [f"backbone.stages.{index // 10}.blocks.{index % 10}.attention.projection{index}" for index in range(150)]
    values = [step / 15 for step in range(-15, 16, 2)]
    for folder in ("one", "two"):
        recording = Recording(tmp_path / folder)
        said = facts(300, names)
        for plan in said.layers:
            plan.values = values
        recording.begin(said, "epoch")
        recording.end()
        for epoch in range(1, 301):
            layers = {
                name: {"confidence": numbers.random(), "lowest": 0.1, "histogram": [numbers.random() for _ in values]}
                for name in names
            }
            recording.add("epoch", {"epoch": epoch, "loss": numbers.random(), "confidence": 0.5, "layers": layers})
    path = write_report([tmp_path / "one", tmp_path / "two"], tmp_path / "report.html")
    assert path.stat().st_size < 1_000_000


def test_the_command_writes_beside_the_run_and_says_so(folders, capsys, tmp_path):
    assert main(["report", str(folders[0])]) == 0
    assert f"{folders[0] / 'report.html'} written" in capsys.readouterr().out
    assert (folders[0] / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert main(["report", str(folders[1] / "model.xml"), "--no-latency"]) == 0
    assert (folders[1] / "model_report.html").exists()
    assert main(["report", str(folders[0]), str(tmp_path / "nothing")]) == 2
    assert capsys.readouterr().err.startswith(f"error: run: received {tmp_path / 'nothing'}, which does not exist")


@pytest.mark.parametrize("numbers", [[0.0, 0.0], [1e-9, 3e5], [98.2, 98.4], [-3.0, -2.999], [5.0], [1e12, 2e12]])
def test_axes_hold_their_numbers_between_round_ones(numbers):
    scale, marks = fitted(numbers, 200, 0)
    assert 2 <= len(marks) <= 7 and all(-1e-6 <= scale(number) <= 200 + 1e-6 for number in [*numbers, *marks])
    texts = formatting.mark_texts(marks)
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize(("low", "high"), [(1.0, 20.0), (1.0, 1.0), (0.5, 3e6), (2.0, 2.1)])
def test_logarithmic_axes_hold_their_numbers(low, high):
    scale, marks = fitted([low, high], 200, 0, logarithmic=True)
    assert 1 <= len(marks) <= 7 and all(-1e-6 <= scale(number) <= 200 + 1e-6 for number in (low, high, *marks))
    assert scale.high == scale.low or math.isclose(scale(math.sqrt(scale.low * scale.high)), 100)


def test_counts_are_labelled_at_round_numbers():
    assert whole_marks(1, 5) == [1, 2, 3, 4, 5] and whole_marks(1, 100) == [1, 20, 40, 60, 80, 100]
    assert whole_marks(7, 7) == [7] and thinned(10, 4) == [0, 3, 6, 9] and thinned(3, 9) == [0, 1, 2]


def test_numbers_read_as_what_they_are():
    assert formatting.percent(0.9996) == "> 99.9 %" and formatting.percent(1.0) == "100.0 %"
    assert formatting.percent(0.0004) == "< 0.1 %" and formatting.percent(None) == formatting.MISSING
    assert formatting.size(21_341) == "21.3 kB" and formatting.size(999) == "999 bytes"
    assert formatting.digits(0.0696) == "0.0696" and formatting.digits(1234567) == "1,234,567"
    assert formatting.shortened("a" * 20 + "b" * 20, 21) == "a" * 8 + "…" + "b" * 12
    assert formatting.listed(["a"]) == "a" and formatting.listed(["a", "b", "c"]) == "a, b and c"
    assert formatting.listed(list("abcdef")) == "a, b, c and 3 more"
