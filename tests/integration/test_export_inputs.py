"""Inputs of the IR: names, shapes, types, and where they come from."""

import numpy as np
import openvino as ov
import pytest
import torch

import nncf_slb
from nncf_slb.openvino.low_bit_model import ExportError
from tests.integration.exported import infer, searched_mixed
from tests.networks import Small, compress, digits, make_config, searched_words


def test_batch_is_dynamic_and_input_names_are_kept(tmp_path):
    ctrl, model = searched_mixed({"bits": 2})
    path = nncf_slb.export_openvino(ctrl, tmp_path / "model.xml", input_names=["image"])
    for count in (1, 5):
        x = torch.randn(count, 1, 12, 12)
        np.testing.assert_allclose(infer(path, x)[0], model(x).detach().numpy(), atol=1e-5)
    assert ov.Core().read_model(path).inputs[0].get_any_name() == "image"


@pytest.mark.parametrize("suffix", [".xml", ".onnx"])
@pytest.mark.parametrize("names", [[], ["image", "mask"]])
def test_every_input_needs_a_name(names, suffix, tmp_path):
    ctrl, _ = searched_mixed({"bits": 2})
    with pytest.raises(ExportError, match=rf"input_names: received {len(names)}; allowed are as many .* inputs, 1\."):
        nncf_slb.export_openvino(ctrl, tmp_path / f"model{suffix}", input_names=names)
    assert not list(tmp_path.iterdir())


def test_sizes_are_free_where_the_caller_says_so(tmp_path):
    ctrl, model = compress(Small(), make_config([2, 1, 8, 8], {"weights": {"bits": 2}}))
    path = nncf_slb.export_openvino(ctrl, tmp_path / "model.xml", input_shapes=[[-1, 1, -1, -1]])
    for shape in ((1, 1, 8, 8), (3, 1, 10, 17)):
        x = torch.randn(shape)
        np.testing.assert_allclose(infer(path, x)[0], model.eval()(x).detach().numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("shapes", "settings", "message"),
    [
        ([[-1, 1, 9, -1]], {}, r"received \[\[-1, 1, 9, -1\]\]; allowed are .*\[\[2, 1, 8, 8\]\], with -1"),
        ([[-1, 1, -1]], {}, "input_shapes: received"),
        ([], {}, r"input_shapes: received \[\]"),
        ([[-1, 1, 8, 8]], {"target_device": "NPU"}, "the NPU needs fixed sizes: give numbers"),
    ],
)
def test_shapes_that_cannot_be_are_refused(shapes, settings, message, tmp_path):
    ctrl, _ = compress(Small(), make_config([2, 1, 8, 8], {"weights": {"bits": 2}}))
    with pytest.raises(ExportError, match=message):
        nncf_slb.export_openvino(ctrl, tmp_path / "m.xml", input_shapes=shapes, **settings)
    assert not list(tmp_path.iterdir())


def test_a_stripped_model_needs_an_example_input(tmp_path):
    ctrl, _ = searched_mixed({"bits": 2})
    with pytest.raises(ExportError, match="example_input: received None"):
        nncf_slb.export_openvino(ctrl.strip(), tmp_path / "m.xml")


def test_whole_numbers_stay_whole_numbers(tmp_path):
    ctrl, model = searched_words()
    path = nncf_slb.export_openvino(ctrl, tmp_path / "m.xml")
    words = torch.arange(12).view(3, 4) % 11
    np.testing.assert_allclose(infer(path, words)[0], model.eval()(words).detach().numpy(), atol=1e-5)


def test_inputs_by_keyword_keep_their_names(tmp_path):
    ctrl, model = searched_words(keyword="words")
    path = nncf_slb.export_openvino(ctrl, tmp_path / "m.xml")
    assert ov.Core().read_model(path).inputs[0].get_names() == {"words"}
    words = torch.arange(12).view(3, 4) % 11
    assert nncf_slb.verify_openvino(ctrl, path, words).passed
    np.testing.assert_allclose(infer(path, words)[0], model.eval()(words=words).detach().numpy(), atol=1e-5)


def test_without_input_info_the_registered_loader_gives_the_shapes(tmp_path):
    loader, x, _ = digits()
    config = make_config([50, 1, 8, 8])
    del config["input_info"]
    ctrl, model = compress(Small(), config, loader)
    path = nncf_slb.export_openvino(ctrl, tmp_path / "m.xml")
    np.testing.assert_allclose(infer(path, x)[0], model.eval()(x).detach().numpy(), atol=1e-5)
