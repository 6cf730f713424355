"""The page as a browser shows it: values read out of it, light, dark and on a phone, on paper."""

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from nncf_slb.reports.data import read_run
from nncf_slb.reports.page import write_report
from tests.reports.runs import search, write_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian's package chromium)")
PHONE, DESK = 390, 1200


def chromium(page, *options, folder):
    command = [
        CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage",
        "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder}", *options, page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def framed(page, width, height, script=""):
    """A page that shows another one as wide as a phone, and puts into its title what a script finds there."""
    frame = page.with_name(f"frame_{width}.html")
    frame.write_text(
        f"<title></title><body style='margin:0'><iframe src='{page.name}' style='border:0;width:{width}px;"
        f"height:{height}px'></iframe><script>onload = () => {{ const page = frames[0].document; "
        f"document.title = JSON.stringify({script or 'null'}); }}</script>"
    )
    return frame


def found_in(page, script, tmp_path, width=DESK):
    """What an expression on the document ``page`` gives in the browser."""
    frame = framed(page, width, 900, script)
    text = chromium(frame, "--allow-file-access-from-files", "--dump-dom", folder=tmp_path)
    return json.loads(html.unescape(re.search(r"<title>(.*?)</title>", text, re.S)[1]))


def picture(page, scheme, width, tmp_path, height=2400):
    target = tmp_path / f"{scheme}_{width}.png"
    shown = page if width == DESK else framed(page, width, height)
    colours = f"--blink-settings=preferredColorScheme={int(scheme == 'light')}"
    size = f"--window-size={max(width, 500)},{height}"
    chromium(shown, colours, size, f"--screenshot={target}", folder=tmp_path / "profile")
    return np.asarray(Image.open(target).convert("RGB"), dtype=float)[:, :width]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    search(folder / "searched", bits="auto", budget={"mean_bits": 2.0})
    return [folder / "searched", write_run(folder / "trained", last={"confidence": 0.7})]


@pytest.fixture(scope="module")
def page(runs):
    return write_report(runs[:1], runs[0] / "report.html", latency=False)


def cells(kind):
    texts = "[...row.children].map(cell => cell.innerText.trim())"
    return f"[...page.querySelectorAll('table.{kind} tr')].map(row => {texts})"


def test_values_can_be_read_out_of_the_page(page, runs, tmp_path):
    run = read_run(runs[0], latency=False)
    networks = found_in(page, cells("networks"), tmp_path)
    ours = dict(zip(networks[0], networks[-1], strict=True))
    assert ours["Network"] == "Searched, as OpenVINO file" and ours["Bytes"] == f"{run.inspection.bin_bytes:,}"
    assert ours["Agreement with float"] == f"{run.networks['IR'].agreement:.2f} %".replace(" ", "\xa0")
    shown = found_in(page, cells("layers"), tmp_path)
    assert [row[0] for row in shown[1:]] == [layer.name for layer in run.layers]
    stored = shown[0].index("Stored as")
    assert [row[stored] for row in shown[1:]] == [layer.found.stored for layer in run.layers]


def test_the_last_numbers_of_the_curves_are_those_of_the_run(page, runs, tmp_path):
    last = read_run(runs[0], latency=False).moments[-1]
    drawn = found_in(
        page, "[...page.querySelectorAll('figcaption')].map(text => text.innerText.split('\\n'))", tmp_path
    )
    by_name = {text[0].split(" mean")[0]: text[-1] for text in drawn}
    assert float(by_name["Distance of the outputs"]) == pytest.approx(last.loss, rel=0.01)
    assert float(by_name["1/tau logarithmic"]) == last.inverse_temperature == 50
    points = found_in(page, "page.querySelector('#curves .curve').getAttribute('d').split('L').length", tmp_path)
    assert points == len(read_run(runs[0], latency=False).moments)


@pytest.mark.parametrize("width", [PHONE, 768, DESK])
def test_nothing_is_wider_than_the_window_but_tables_that_scroll(runs, tmp_path, width):
    both = write_report(runs, tmp_path / "both.html", latency=False)
    wide = (
        "[page.documentElement.scrollWidth, ...[...page.querySelectorAll('main *')].filter(each => !each.closest("
        "'.scroll, pre, svg') && each.getBoundingClientRect().right > page.documentElement.clientWidth + 1)"
        ".map(each => each.outerHTML.slice(0, 80))]"
    )
    assert found_in(both, wide, tmp_path, width) == [width]


def test_texts_of_a_drawing_do_not_overlap(page, tmp_path):
    overlapping = """[...page.querySelectorAll('svg')].flatMap(svg => {
        const boxes = [...svg.querySelectorAll('text')].map(text => [text.textContent, text.getBoundingClientRect()]);
        return boxes.flatMap(([a, x], i) => boxes.slice(i + 1).filter(([b, y]) => x.width && x.left < y.right - 1 &&
            y.left < x.right - 1 && x.top < y.bottom - 2 && y.top < x.bottom - 2).map(([b]) => a + ' / ' + b));
    })"""
    assert found_in(page, overlapping.replace("\n", " "), tmp_path) == []


def test_light_dark_and_phone_are_drawn(page, tmp_path):
    shown = {(s, w): picture(page, s, w, tmp_path) for s in ("light", "dark") for w in (DESK, PHONE)}
    for width in (DESK, PHONE):
        assert np.median(shown["light", width]) > 200 and np.median(shown["dark", width]) < 60
    for drawn in shown.values():
        assert drawn.std() > 10  # something is drawn


def test_the_keyboard_reaches_links_folds_and_tables_that_scroll(page, tmp_path):
    reached = found_in(
        page,
        "[...page.querySelectorAll('a[href], summary, [tabindex=\"0\"]')].map(each => each.tagName)",
        tmp_path,
        PHONE,
    )
    assert reached[0] == "A" and {"A", "SUMMARY", "DIV", "PRE"} <= set(reached)
    scrolling = (
        "[...page.querySelectorAll('main *')].filter(each => each.scrollWidth > each.clientWidth + 1 && "
        "getComputedStyle(each).overflowX == 'auto' && each.tabIndex < 0).length"
    )
    assert found_in(page, scrolling, tmp_path, PHONE) == 0


def test_it_prints_with_everything_unfolded(page, tmp_path):
    target = tmp_path / "report.pdf"
    chromium(page, f"--print-to-pdf={target}", "--no-pdf-header-footer", folder=tmp_path / "profile")
    assert target.read_bytes().startswith(b"%PDF")
    opened = "(frames[0].dispatchEvent(new Event('beforeprint')), page.querySelectorAll('details:not([open])').length)"
    assert found_in(page, opened, tmp_path) == 0
