"""Numbers that are not finite are an error that names the tensor, before anything is made of them."""

import pytest
import torch
from torch import nn

import nncf_slb
from samples.classification.main import main
from tests.networks import Small, compress, digits, make_config
from tests.samples.test_main import arguments

SIZE = [50, 1, 8, 8]


def spoil(model, name, number=float("nan")):
    with torch.no_grad():
        dict(model.named_parameters(), **dict(model.named_buffers()))[name].view(-1)[0] = number


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "name", ["second.weight", "descent.mean", "scale", "head.bias", "second_bn.running_var", "log_step"]
)
def test_strip_and_export_name_the_tensor(name, number, tmp_path):
    ctrl, model = compress(Small(), make_config(SIZE, {"activations": {"bits": 4}}), digits()[0])
    model.eval()
    (full,) = [
        each for each in model.state_dict() if each.endswith(name) and "first" not in each and "head.pre" not in each
    ]
    stripped = ctrl.strip()
    spoil(model, full, number)
    for attempt in (ctrl.strip, lambda: nncf_slb.export_openvino(ctrl, tmp_path / "m.xml")):
        with pytest.raises(nncf_slb.NotFiniteError, match="not finite.*\n.*" + full.replace(".", r"\.")):
            attempt()
    spoil(stripped, "head.bias", number)
    with pytest.raises(nncf_slb.NotFiniteError, match=r"head\.bias: 1 of 10 numbers"):
        nncf_slb.export_openvino(stripped, tmp_path / "m.xml", example_input=torch.zeros(SIZE))
    assert not list(tmp_path.iterdir())


def test_a_mask_of_infinities_is_no_fault(tmp_path):
    class Masked(Small):
        def __init__(self):
            super().__init__()
            self.register_buffer("mask", torch.full((10,), float("-inf")).masked_fill(torch.arange(10) < 5, 0.0))

        def forward(self, x):
            return (super().forward(x) + self.mask).softmax(1)

    ctrl, model = compress(Masked(), make_config(SIZE))
    model.eval()
    path = nncf_slb.export_openvino(ctrl, tmp_path / "m.xml")
    assert nncf_slb.verify_openvino(ctrl, path, digits()[1]).passed


def test_a_calibration_batch_that_is_not_finite_is_an_error_and_changes_nothing():
    loader, x, _ = digits()
    _, model = compress(Small(), make_config(SIZE), loader)
    model.train()(x)
    before = model.second_bn.running_var.clone()
    loader.dataset.tensors[0][70, 0, 3, 3] = float("nan")
    with pytest.raises(nncf_slb.NotFiniteError, match="calibration of batch norm .* first_bn, second_bn"):
        model.eval()(x)
    assert torch.equal(model.second_bn.running_var, before)


def test_a_sample_stops_at_the_first_loss_that_is_not_finite_and_keeps_the_last_good_checkpoint(tmp_path, capsys):
    run = arguments(tmp_path / "run", epochs="3")
    steps = []

    def explode(outputs, targets, own=nn.functional.cross_entropy):
        steps.append(1)
        return own(outputs, targets) * (float("nan") if len(steps) > 9 else 1.0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.functional, "cross_entropy", explode)
        assert main(run) == 2
    message = capsys.readouterr().err
    assert "the loss is nan, so training stopped" in message and "last.pth" in message and "step " in message
    state = torch.load(tmp_path / "run" / "last.pth", weights_only=False)
    assert all(bool(value.isfinite().all()) for value in state["model"].values() if value.is_floating_point())


def test_a_checkpoint_that_is_not_finite_is_refused_at_resume(tmp_path, capsys):
    run = arguments(tmp_path / "run", epochs="1")
    assert main(run) == 0
    last = tmp_path / "run" / "last.pth"
    state = torch.load(last, weights_only=False)
    name = next(each for each in state["model"] if each.endswith("weight"))
    state["model"][name].view(-1)[0] = float("nan")
    torch.save(state, last)
    capsys.readouterr()
    assert main([*run, "--resume", str(last)]) == 2
    assert name in capsys.readouterr().err
