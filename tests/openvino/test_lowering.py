"""Every pair of weight and activation bits, on every kind of layer: what is stored, what runs, and how exactly."""

import numpy as np
import openvino as ov
import pytest
import torch
from torch import nn

import nncf_slb
from benchmarks.documents import write_between_markers
from benchmarks.openvino.lowering import ACTIVATIONS, WEIGHTS, measure
from tests.networks import compress, make_config
from tests.openvino.exported import searched_small

FLOAT = {"INFERENCE_PRECISION_HINT": "f32"}
BINARY = {"Conv2d", "Conv2d, stride 2", "Conv2d, dilation 2"}


@pytest.mark.parametrize("activations", ACTIVATIONS)
@pytest.mark.parametrize("weights", WEIGHTS)
def test_every_pair_runs_in_low_precision_and_computes_the_same(weights, activations, tmp_path):
    cells = {cell.kind: cell for cell in measure(weights, activations, tmp_path)}
    assert len(cells) == 8
    for kind, cell in cells.items():
        assert cell.stored == f"u{weights}", kind
        # One input on the boundary of two levels, of some ten thousand, may fall on the other side.
        assert cell.difference < 1e-4 or (activations < 32 and cell.mean < 1e-6), kind
        binary = kind in BINARY and weights == activations == 1
        if binary:
            assert cell.precision == "u1", kind
        elif activations < 32:
            assert cell.precision in ("u8", "i8"), kind
        elif kind == "Linear":  # 1 and 3 bits are widened as the model is loaded, for a kernel that reads 2 or 4
            assert cell.precision == f"u{weights + weights % 2}"
        else:
            assert cell.precision == "f32", kind


def test_a_table_replaces_what_stands_between_its_markers(tmp_path):
    file = tmp_path / "page.md"
    page = "before\n<!-- t: begin -->\n{}\n<!-- t: end -->\nafter <!-- u: begin --><!-- u: end -->\n"
    file.write_text(page.format("old"))
    write_between_markers(file, "t", "new")
    assert file.read_text() == page.format("new")
    file.write_text("nothing")
    with pytest.raises(ValueError, match="are needed"):
        write_between_markers(file, "t", "new")


class Patterns(nn.Module):
    """What networks have around their layers.

    Two inputs, two outputs, batch norm before and after, bias with and without, a residual sum, two layers that share
    one parameter, a layer used twice, max pooling between a quantizer's producer and its layer, a concatenation.
    """

    def __init__(self):
        super().__init__()
        self.before = nn.BatchNorm2d(8)
        self.first = nn.Conv2d(8, 16, 3, padding=1)
        self.after = nn.BatchNorm2d(16)
        self.second = nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.slope = nn.PReLU(16)
        self.second_bn = nn.BatchNorm2d(16)
        self.shared = nn.Conv2d(16, 16, 3, padding=1)
        self.shared.weight = self.second.weight
        self.twice = nn.Conv2d(16, 16, 1)
        self.joined = nn.Conv2d(32, 16, 3, stride=2, padding=1)
        self.left = nn.Linear(16, 10)
        self.right = nn.Linear(16 + 5, 3)

    def forward(self, x, extra):
        x = self.after(self.first(self.before(x)))
        y = self.shared(self.second_bn(self.slope(self.second(x)))) + x
        y = self.twice(self.twice(y))
        z = self.joined(nn.functional.max_pool2d(torch.cat([x, y], 1), 2)).mean((2, 3))
        return self.left(z), self.right(torch.cat([z, extra], 1))


def patterns_controller(weights, activations, device="CPU", shared=True):
    torch.manual_seed(0)
    network = Patterns()
    if not shared:
        network.shared.weight = nn.Parameter(torch.randn_like(network.shared.weight))
    network.train()
    shapes = [[4, 8, 12, 12], [4, 5]]
    for _ in range(3):  # batch norm statistics other than 0 and 1
        network(*(torch.randn(*shape) for shape in shapes))
    network.joined.weight.requires_grad_(False)  # a frozen layer
    values = weights if isinstance(weights, dict) else {"bits" if isinstance(weights, int) else "values": weights}
    slb = {"weights": values, "activations": {"bits": activations}}
    slb["initializer"] = {"batchnorm_adaptation": None}
    config = make_config([1], slb, target_device=device)
    config["input_info"] = [{"sample_size": shape} for shape in shapes]
    ctrl, model = compress(network, config)
    if activations < 32:  # as training would: quantizers fit themselves to the first batch
        model.train()
        model(*(torch.randn(*shape) for shape in shapes))
    model.eval()
    return ctrl


def patterns_data(count=6):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 8, 12, 12, generator=generator), torch.randn(count, 5, generator=generator)


@pytest.mark.parametrize(("weights", "activations"), [(1, 1), (2, 2), (3, 4), (4, 8), (2, 32)])
def test_patterns_of_real_networks_are_exact_and_run_in_low_precision(weights, activations, tmp_path):
    ctrl = patterns_controller(weights, activations)
    path = nncf_slb.export_openvino(ctrl, tmp_path / "m.xml")
    result = nncf_slb.verify_openvino(ctrl, path, patterns_data(), tolerance=1e-4)
    assert result.passed, result.to_str()
    layers = [layer for layer in nncf_slb.inspect_openvino(path, properties=FLOAT).layers if layer.searched]
    names = ["first", "second", "shared", "twice", "joined", "left", "right"]
    assert {layer.name for layer in layers} == set(names)
    assert sum(layer.name == "twice" for layer in layers) == 2
    if activations < 32:
        assert {layer.precision for layer in layers} <= {"u8", "i8", "u1"}
    if weights == activations == 1:
        assert {layer.name for layer in layers if layer.precision == "u1"} == set(names[:5])


def test_a_shared_parameter_is_stored_once(tmp_path):
    sizes = []
    for shared in (True, False):
        path = nncf_slb.export_openvino(patterns_controller(2, 8, shared=shared), tmp_path / f"{shared}.xml")
        sizes.append(path.with_suffix(".bin").stat().st_size)
    assert sizes[1] - sizes[0] >= 16 * 16 * 9 / 4


def test_batch_is_free_but_for_binary_convolutions(tmp_path):
    free = nncf_slb.export_openvino(patterns_controller(2, 2), tmp_path / "free.xml")
    fixed = nncf_slb.export_openvino(patterns_controller(1, 1), tmp_path / "fixed.xml")
    batches = [ov.Core().read_model(path).inputs[0].get_partial_shape()[0] for path in (free, fixed)]
    assert batches[0].is_dynamic and batches[1] == 4
    x, extra = (each.numpy() for each in patterns_data(3))
    compiled = ov.compile_model(free, "CPU", FLOAT)  # the batch stays free at run time too
    ctrl = patterns_controller(2, 2)
    expected = ctrl.strip()(*patterns_data(3))
    np.testing.assert_allclose(compiled([x, extra])[0], expected[0].detach().numpy(), atol=1e-4)


@pytest.mark.parametrize("device", ["GPU", "ANY"])
@pytest.mark.parametrize(("weights", "activations"), [(1, 1), (2, 8), (3, 32)])
def test_portable_files_hold_no_type_that_only_the_cpu_reads(device, weights, activations, tmp_path):
    ctrl = patterns_controller(weights, activations, device)
    path = nncf_slb.export_openvino(ctrl, tmp_path / "m.xml")
    ops = ov.Core().read_model(path).get_ops()
    types = {op.get_element_type().get_type_name() for op in ops if op.get_type_name() == "Constant"}
    assert not types & {"u1", "u2", "u3"} and "u4" in types
    assert not any(op.get_type_name() == "BinaryConvolution" for op in ops)
    assert nncf_slb.verify_openvino(ctrl, path, patterns_data(4), tolerance=1e-4).passed


def test_an_argument_overrides_the_configs_device_and_kernel(tmp_path):
    ctrl = patterns_controller(1, 1)
    kernels = {}
    for name, settings in {
        "binary": {"binary_convolution": "auto"},
        "int8": {"binary_convolution": "never"},
        "portable": {"target_device": "ANY"},
    }.items():
        path = nncf_slb.export_openvino(ctrl, tmp_path / f"{name}.xml", **settings)
        inspection = nncf_slb.inspect_openvino(path)
        kernels[name] = {layer.precision for layer in inspection.layers if layer.name == "first"}, inspection
    assert kernels["binary"][0] == {"u1"} and kernels["int8"][0] <= {"u8", "i8"}
    assert kernels["portable"][1].target_device == "ANY" and kernels["portable"][0] <= {"u8", "i8"}


def test_binary_convolutions_are_taken_wherever_a_layer_can_be_one(tmp_path):
    path = nncf_slb.export_openvino(patterns_controller(1, 1), tmp_path / "m.xml")
    assert any(op.get_type_name() == "BinaryConvolution" for op in ov.Core().read_model(path).get_ops())


@pytest.mark.parametrize("device", ["CPU", "NPU"])
def test_weights_that_change_on_their_way_are_decoded_in_their_place(device, tmp_path):
    class Changed(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            x = nn.functional.conv2d(x, self.inner.first.weight.abs(), padding=1).relu()
            return self.inner.head(nn.functional.conv2d(x, self.inner.second.weight.abs()).mean((2, 3)))

    stripped, x = Changed(searched_small().strip()), torch.randn(4, 1, 8, 8)
    path = nncf_slb.export_openvino(stripped, tmp_path / "m.xml", example_input=x, target_device=device)
    assert nncf_slb.verify_openvino(stripped, path, x).passed
    stored = {layer.name: layer.stored for layer in nncf_slb.inspect_openvino(path).layers}
    assert set(stored.values()) == {"u4" if device == "NPU" else "u2"} and len(stored) == 3


def test_layers_that_cannot_be_binary_are_named_when_nothing_else_will_do(tmp_path):
    with pytest.raises(nncf_slb.ExportError) as caught:
        nncf_slb.export_openvino(
            patterns_controller(1, 1), tmp_path / "m.xml", binary_convolution="always", target_device="ANY"
        )
    for part in ("target_device is ANY", "left: it is Linear, not Conv2d", "right: it is Linear", '"auto" or "never"'):
        assert part in str(caught.value)
    assert "joined" not in str(caught.value) and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"target_device": "TPU"},
            "target_device: received 'TPU'; allowed are CPU, GPU, NPU, ANY .also CPU_SPR",
        ),
        ({"binary_convolution": "yes"}, r"binary_convolution: received 'yes'; allowed are auto, always, never"),
    ],
)
def test_wrong_settings_of_an_export_are_refused(settings, message, tmp_path):
    with pytest.raises(nncf_slb.ExportError, match=message):
        nncf_slb.export_openvino(patterns_controller(2, 8), tmp_path / "m.xml", **settings)
    assert not list(tmp_path.iterdir())


def test_rounding_of_linear_inputs_at_run_time_is_a_choice(tmp_path):
    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(512, 64)

        def forward(self, x):
            return self.linear(x)

    torch.manual_seed(0)
    ctrl, model = compress(Wide(), make_config([1, 512], {"initializer": {"batchnorm_adaptation": None}}))
    model.eval()
    x = torch.randn(8, 512)
    differences = []
    for linear in ("exact", "fastest"):
        path = nncf_slb.export_openvino(ctrl, tmp_path / f"{linear}.xml", linear=linear)
        differences.append(nncf_slb.verify_openvino(ctrl, path, x).outputs[0].relative)
    assert differences[0] < 1e-5
    assert differences[1] < 0.05


def test_values_without_a_common_step_are_refused_for_the_npu():
    with pytest.raises(nncf_slb.UnsupportedLayersError, match=r"first.*target_device NPU.*not integers up to 64"):
        patterns_controller([-3.14159, -1.0, 1.41421, 2.71828], 32, "NPU")


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
@pytest.mark.parametrize("features", [5, 21, 22, 24, 30, 36])
def test_linear_layers_of_any_width_are_exact(bits, features, tmp_path):
    class Narrow(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(features, 7)

        def forward(self, x):
            return self.linear(x)

    ctrl, model = compress(Narrow(), make_config([1, features], {"weights": {"bits": bits}}))
    model.eval()
    path = nncf_slb.export_openvino(ctrl, tmp_path / "m.xml")
    assert nncf_slb.verify_openvino(ctrl, path, torch.randn(5, features), tolerance=1e-5).passed


def test_a_sign_behind_a_residual_sum_is_exact(tmp_path):
    """The CPU plugin fuses such a sum and its sign into the convolution before, and then computes something else."""

    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.one = nn.Conv2d(16, 16, 3, padding=1)
            self.two = nn.Conv2d(16, 16, 3, padding=1)

        def forward(self, x):
            return self.two((self.one(x) + x).relu() - 0.5)

    torch.manual_seed(0)
    section = {"weights": {"bits": 1}, "activations": {"bits": 1}, "openvino": {"binary_convolution": "always"}}
    ctrl, model = compress(Sum(), make_config([2, 16, 8, 8], section))
    model.eval()
    path = nncf_slb.export_openvino(ctrl, tmp_path / "m.xml")
    assert {layer.precision for layer in nncf_slb.inspect_openvino(path).layers} == {"u1"}
    assert nncf_slb.verify_openvino(ctrl, path, torch.randn(8, 16, 8, 8), tolerance=1e-5).passed
