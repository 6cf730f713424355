"""Regular expressions of scopes: those that can take for ever are told from the others before anything is matched."""

import re
import time

import pytest

from nncf_slb.config.patterns import scope_problem
from nncf_slb.config.section import ConfigError, parse_slb_config

HANGING = [
    "(a+)+$", "(a*)*b", "(a|a?)+b", "(.*,)+x", r"(\w+\s?)*$", "([a-z]+)*X", "(a|b|ab)*c", "(x+x+)+y", ".*.*.*z",
    "(?!(a+)+$)b", "(a{1,3})+b", r"(conv\d*)*\d*(\d+)+z", "(.+)+[conv]", "([^/]*/?)+x", "(?:NNCF.*)+x", "((a+)b?)+$",
]  # fmt: skip
HARMLESS = [
    r"NNCFConv2d\[stem\]", r"\[stage\d\].*NNCFConv2d", "^(?!.*NNCFEmbedding).*$", r"\[convs\]/NNCFConv2d\[[1-5]\]",
    r"(Conv\d+/)+", "(ab)+", "(a+b)+", ".*layer(1|2|3).*conv.*", r"\d+.*\d+", r"(\d{2})+x", ".*", "(a|b)*",
    "([^/]+/)*fc", "(?i)conv", r"(layer[12]|stage3)\..*", r"(a)(\1)+", "[ab]+.*[cd]+.*", "(?:[^/]+/){3}x", "a{1,200}b",
    "", "a{0}b", "é+",
]  # fmt: skip
TEXTS = ["a" * 60, "x" * 60, "ab" * 30, "conv1" * 12, "a/" * 30, "1" * 60, "Net/NNCFConv2d[stem]/conv2d_0" * 3]


@pytest.mark.parametrize("pattern", HANGING)
def test_an_expression_that_can_take_for_ever_is_refused(pattern):
    assert scope_problem("{re}" + pattern)
    assert scope_problem(pattern) is None  # a plain name


@pytest.mark.parametrize("pattern", HARMLESS)
def test_a_harmless_expression_passes_and_matches_at_once(pattern):
    assert scope_problem("{re}" + pattern) is None
    started = time.perf_counter()
    for text in TEXTS:
        re.search(pattern, text + "!")
    assert time.perf_counter() - started < 0.5


@pytest.mark.parametrize("pattern", ["[", "*", "(?P<", "(a", "a{99999999999}", "\\"])
def test_an_invalid_expression_is_refused(pattern):
    allowed, _ = scope_problem("{re}" + pattern)
    assert allowed.startswith("a valid regular expression")


def test_a_very_long_expression_is_decided_quickly():
    started = time.perf_counter()
    for pattern in ("(abc|def)" * 90, "(((a{8}){8}){8}){8}", "(" * 90 + "a" + "+)" * 90, "[a-z]*" * 200):
        scope_problem("{re}" + pattern)
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize(
    ("section", "place"),
    [
        ({"ignored_scopes": "{re}(a+)+"}, "compression.ignored_scopes"),
        ({"target_scopes": ["fc", "{re}["]}, "compression.target_scopes[1]"),
        (
            {"weights": {"overrides": [{"target_scopes": "{re}(a+)+", "bits": 1}]}},
            "compression.weights.overrides[0].target_scopes",
        ),
    ],
)
def test_scopes_of_the_section_are_checked(section, place):
    with pytest.raises(ConfigError) as caught:
        parse_slb_config({"algorithm": "slb", **section})
    (problem,) = caught.value.problems
    assert problem.startswith(f"{place}: received ")
