"""`slb` beside each of NNCF's own algorithms, in both orders, straight after a training step."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import nncf_slb
from nncf_slb.openvino.network import IrNetwork
from tests.hosts.subjects import EXACT, IMAGES, LABELS, codes, network, outputs

SEARCHED = ["{re}\\[(right|mix)\\]"]
OTHERS = {
    "knowledge_distillation": {"type": "softmax"},
    "rb_sparsity": {"target_scopes": ["{re}\\[stem\\]"]},
    "magnitude_sparsity": {"target_scopes": ["{re}\\[stem\\]"]},
    "const_sparsity": {"target_scopes": ["{re}\\[stem\\]"]},
    "filter_pruning": {
        "pruning_init": 0.5, "target_scopes": ["{re}\\[left\\]"], "params": {"prune_first_conv": True}
    },
    "quantization": {"weights": {"ignored_scopes": SEARCHED}},
}  # fmt: skip
ORDERS = pytest.mark.parametrize("first", [True, False], ids=["slb first", "slb last"])


def create(other, first):
    slb = {"algorithm": "slb", "target_scopes": SEARCHED}
    section = {"algorithm": other, **OTHERS[other]}
    config = {
        "epochs": 2,
        "input_info": {"sample_size": [1, 1, 8, 8]},
        "compression": [slb, section] if first else [section, slb],
    }
    loader = DataLoader(TensorDataset(IMAGES[:100], LABELS[:100]), 50)
    return nncf_slb.create_compressed_model(network(), config, loader, host="nncf2")


def a_step(ctrl, model):
    ctrl.scheduler.epoch_step()
    ctrl.scheduler.step()
    model.train()
    (nn.functional.cross_entropy(model(IMAGES[:50]), LABELS[:50]) + ctrl.loss()).backward()
    model(IMAGES[:50])  # so that losses of a pass wait


@ORDERS
@pytest.mark.parametrize("other", OTHERS)
def test_a_composite_is_copied_stripped_and_exported_after_a_step(other, first, tmp_path):
    ctrl, model = create(other, first)
    a_step(ctrl, model)
    copy.deepcopy(model)
    assert ctrl.statistics().slb.layers and ctrl.compression_stage() in (0, 1)
    expected = outputs(model)
    stripped = ctrl.strip()
    assert len(codes(stripped)) == 2
    tolerance = 0.02 if other == "quantization" else 1e-4  # where a sum of products may fall on the other side
    assert torch.allclose(outputs(stripped), expected, atol=tolerance)
    ctrl.export_model(str(tmp_path / "m.xml"))
    exported = IrNetwork(tmp_path / "m.xml", properties=EXACT)(IMAGES[300:400])
    assert torch.allclose(exported, expected, atol=tolerance)
    assert "u2" in nncf_slb.inspect_openvino(tmp_path / "m.xml").to_str()


class Chain(nn.Sequential):
    """Layers whose filters can be pruned."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(8, 10),
        )  # fmt: skip


@ORDERS
@pytest.mark.parametrize("other", ["rb_sparsity", "magnitude_sparsity", "const_sparsity", "filter_pruning"])
def test_an_algorithm_that_changes_the_searched_weights_is_refused(other, first):
    slb, section = {"algorithm": "slb"}, {"algorithm": other, "ignored_scopes": ["{re}Linear"]}
    if other == "filter_pruning":
        section |= {"pruning_init": 0.5, "params": {"prune_first_conv": True}}
    config = {
        "input_info": {"sample_size": [1, 1, 8, 8]},
        "compression": [slb, section] if first else [section, slb],
    }
    with pytest.raises(nncf_slb.UnsupportedLayersError, match="another algorithm of the config changes the weights"):
        nncf_slb.create_compressed_model(Chain(), config, host="nncf2")


@ORDERS
def test_a_composite_exports_onnx_with_codes(first, tmp_path):
    ctrl, model = create("knowledge_distillation", first)
    a_step(ctrl, model)
    ctrl.export_model(str(tmp_path / "m.onnx"))
    import onnx

    kinds = {tensor.data_type for tensor in onnx.load(tmp_path / "m.onnx").graph.initializer}
    assert onnx.TensorProto.UINT8 in kinds


@ORDERS
@pytest.mark.parametrize("quantized", [False, True])
def test_a_teacher_teaches_through_the_second_pass_of_state_batch_norm(quantized, first):
    slb = {"algorithm": "slb", "target_scopes": SEARCHED, "params": {"batchnorm": "state"}}
    sections = [{"algorithm": "knowledge_distillation", "type": "softmax"}, slb]
    if quantized:
        sections.append({"algorithm": "quantization", **OTHERS["quantization"]})
    config = {"input_info": {"sample_size": [1, 1, 8, 8]}, "compression": sections[::-1] if first else sections}
    loader = DataLoader(TensorDataset(IMAGES[:100], LABELS[:100]), 50)
    ctrl, model = nncf_slb.create_compressed_model(network(), config, loader, host="nncf2")
    ctrl.scheduler.epoch_step()
    ctrl.scheduler.step()
    model.train()(IMAGES[:50])
    ctrl.loss().backward()
    assert model.head.bias.grad.abs().sum() > 0
