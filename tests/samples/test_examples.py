"""The programs of docs/examples.md run, and the sample of detection."""

import re
from pathlib import Path

import pytest
import torch

import nncf_slb
from samples.detection.demo import run_demo
from samples.detection.metrics import mean_average_precision, overlaps
from samples.detection.network import STRIDE, detections, targets
from samples.detection.shapes import SHAPES, SIZE, drawn_shapes

PAGE = Path(__file__).parents[2] / "docs" / "examples.md"
PROGRAMS = dict(re.findall(r"^## ([^\n]*)\n.*?^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.S | re.M))


@pytest.mark.parametrize("title", PROGRAMS)
def test_an_example_searches_and_exports(title, tmp_path, capsys):
    torch.manual_seed(0)
    names = {"folder": tmp_path, "steps": 10, "__name__": title}
    exec(compile(PROGRAMS[title], f"{PAGE.name}, {title}", "exec"), names)
    (file,) = tmp_path.glob("*.xml")
    assert file.name in capsys.readouterr().out
    shape = [1, 1, 24, 24] if title == "Super-resolution" else None  # its height and width are free
    stored = {layer.stored for layer in nncf_slb.inspect_openvino(file, shape=shape).layers if layer.searched}
    assert stored & {"u2", "u4"}


def test_the_page_has_its_tasks():
    tasks = ["Classification", "Super-resolution", "A detector", "Segmentation", "A transformer block"]
    assert list(PROGRAMS) == tasks


def perfect_outputs(objects):
    """What a detector without a fault gives."""
    present, boxes, shapes = targets(objects)
    classes = torch.nn.functional.one_hot(shapes, len(SHAPES)).permute(0, 3, 1, 2)
    return torch.cat([20 * present[:, None] - 10, boxes, 20.0 * classes], 1)


def test_outputs_that_equal_the_targets_find_every_shape():
    images, objects = drawn_shapes(60, seed=3)
    assert images.shape == (60, 1, SIZE, SIZE) and {len(found) for found in objects} == {1, 2}
    found = detections(perfect_outputs(objects))
    assert [len(boxes) for boxes in found] == [len(boxes) for boxes in objects]
    assert mean_average_precision(found, objects) == pytest.approx(100)


def test_a_shape_that_is_missed_moved_or_taken_for_another_costs_precision():
    _, objects = drawn_shapes(60, seed=3)
    missed, moved, other = (perfect_outputs(objects) for _ in range(3))
    missed[:30, 0] = -10
    moved[:, 1] += 20 / STRIDE
    other[:, 5:] = other[:, 5:].roll(1, 1)
    scores = [mean_average_precision(detections(outputs), objects) for outputs in (missed, moved, other)]
    assert 30 < scores[0] < 70 and scores[1] < 5 and scores[2] < 1


def test_average_precision_of_a_case_computed_by_hand():
    truth = [torch.tensor([[0.0, 0, 0, 10, 10]]), torch.tensor([[0.0, 0, 0, 10, 10]])]
    found = [torch.tensor([[0.9, 0, 0, 0, 10, 10], [0.8, 0, 20, 20, 30, 30]]), torch.tensor([[0.7, 0, 0, 0, 10, 6]])]
    # Right, wrong, right: precision 1 up to half of the objects, then 2/3; the other two shapes are not there.
    assert mean_average_precision(found, truth) == pytest.approx(100 * (0.5 + 0.5 * 2 / 3) / 3)
    assert overlaps(found[1][:, 2:], truth[0][:, 1:]).item() == pytest.approx(0.6)


def test_the_demo_writes_its_table_and_files(tmp_path):
    table = run_demo(tmp_path, training=100, epochs=1, steps=2)
    rows = [line for line in table.read_text().splitlines() if line.startswith("|")]
    assert len(rows) == 6 and {"float.xml", "w4.xml", "w2.xml", "w1.xml"} <= {file.name for file in tmp_path.iterdir()}
