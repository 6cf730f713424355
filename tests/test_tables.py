"""Tables for terminals: they fit, and names that differ stay different."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nncf_slb.tables import shortened, terminal_table

LAYERS = [f"encoder.layers.{i}.attention.self.{part}" for i in range(12) for part in ("query", "key")]


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_table_fits_and_keeps_both_ends_of_a_name(width):
    rows = [[name, "u2", f"{1000 * index:,}"] for index, name in enumerate(LAYERS)]
    lines = terminal_table(["layer", "stored", "weights"], rows, "llr", width).splitlines()
    assert max(map(len, lines)) <= width
    names = [line.split()[0] for line in lines[2 : 2 + len(rows)]]
    assert len(set(names)) == len(names) and all(
        line.endswith(row[2]) for line, row in zip(lines[2:], rows, strict=False)
    )
    if width == 40:
        assert all(name[:7] == "encoder" and name.endswith(full[-3:]) for name, full in zip(names, LAYERS, strict=True))
        assert " ".join(lines[-2:]) == "(names are shortened to 40 columns; COLUMNS=200 shows more of them)"


def test_a_table_with_room_is_as_it_is():
    assert terminal_table(["a", "bits"], [["x", 2], ["longer", 16]], "lr", 80).splitlines() == [
        "a       bits", "------  ----", "x          2", "longer    16",
    ]  # fmt: skip
    assert terminal_table(["a"], [], "l", 80) == ""


def test_sentences_go_on_in_further_lines():
    why = "it shares its weight with the embedding, which looks rows up"
    lines = terminal_table(["layer", "why"], [["head", why], ["x", ""]], "lw", 40).splitlines()
    assert " ".join(line[6:].strip() for line in lines[2:-1]) == why and all(len(line) <= 40 for line in lines)
    assert lines[-1] == "x" and not any("shortened" in line for line in lines)


def test_wide_characters_take_two_columns():
    lines = terminal_table(["file", "n"], [["写真.xml", 1], ["a.xml", 2]], "lr", 80).splitlines()
    assert lines[2].endswith("写真.xml  1") and lines[3] == "a.xml     2"


@given(st.lists(st.text("ab.c", min_size=1, max_size=30), min_size=1, max_size=12, unique=True), st.integers(4, 30))
def test_different_names_stay_different(names, width):
    cut = shortened(names, width)
    assert len(set(cut)) == len(names)
    assert all(short == name or len(short) < len(name) for short, name in zip(cut, names, strict=True))
