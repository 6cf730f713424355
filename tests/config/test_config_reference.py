"""The page that lists every setting."""

from pathlib import Path

import pytest

from nncf_slb.config import reference as config_reference
from nncf_slb.config.section import find_slb_sections, json_schema, validate_nncf_config
from tests.config.config_sections import accepted_by_model, leaves, section

REFERENCE = Path(__file__).parents[2] / "docs" / "config.md"


def test_reference_in_docs_is_up_to_date(tmp_path):
    written = tmp_path / "config.md"
    assert config_reference.main([str(written)]) == 0
    assert written.read_text(encoding="utf-8") == REFERENCE.read_text(encoding="utf-8"), "run: make docs"


def test_reference_lists_every_setting_and_its_examples_are_good():
    text = config_reference.render()
    for path in leaves(json_schema()):
        assert f"| `{path[-1]}` |" in text
    for example in config_reference.EXAMPLES.values():
        validate_nncf_config(example)
        assert len(find_slb_sections(example)) == 1


@pytest.mark.parametrize("path", leaves(json_schema()))
def test_reference_says_null_where_null_means_left_out(path):
    config = section()
    inner = config
    for name in path[:-1]:
        inner = inner.setdefault(name, {})
    inner[path[-1]] = None
    text = config_reference.render()
    title = "### `" + ".".join(path[:-1]) + "`" if path[:-1] else "### Top of the section"
    (row,) = [line for line in text.partition(title)[2].partition("###")[0].splitlines() if f"| `{path[-1]}` |" in line]
    assert (", or null |" in row) == accepted_by_model(config)
