"""Rivals quantize the inner convolutions, and train them."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from benchmarks import pool
from benchmarks.accuracy import rivals, worker
from nncf_slb.search.batchnorm import calibrate
from samples.classification.models import MODELS
from tests.benchmarks.digits_study import DIGITS


@pytest.mark.parametrize(
    ("rival", "values"),
    [
        ("bwn_w1", 2), ("dorefa_w1", 2), ("dorefa_w2", 4), ("dorefa_w4", 16), ("lsq_w1", 2), ("lsq_w2", 4),
        ("lsq_w4", 16),
    ],
)  # fmt: skip
def test_a_rival_quantizes_every_convolution_but_the_first_and_trains_it(rival, values):
    torch.manual_seed(0)
    network = MODELS["small_resnet"](num_classes=10)
    original = {name: layer.weight.detach().clone() for name, layer in network.named_modules() if _is_conv(layer)}
    rivals.insert(network, rival)
    network(torch.randn(8, 1, 28, 28)).square().mean().backward()
    quantized = {name: layer for name, layer in network.named_modules() if _is_conv(layer)}
    first, *others = original
    assert torch.equal(quantized[first].weight, original[first])
    for name in others:
        weight = quantized[name].weight.detach()
        counts = [len(channel.unique()) for channel in weight]
        assert max(counts) <= values and min(counts) > 1, name
        assert (weight - original[name]).norm() < original[name].norm(), name  # begins near the trained weights
        assert all(p.grad is not None and p.grad.norm() > 0 for p in quantized[name].parameters()), name


def _is_conv(layer):
    return isinstance(layer, nn.Conv2d)


def test_the_teacher_of_a_distilled_rival_is_the_float_network(tmp_path):
    start = DIGITS.float_start("w1a32", 0)
    start = replace(start, config={**start.config, "epochs": 1})
    pool.run_jobs([start], pool.Study(tmp_path))
    job = DIGITS.rival("lsq_w1", ("Adam", 0.01), 0, False, distilled=True)
    trainer = worker.make_trainer(job, tmp_path, None, "cpu")
    trainer.fit()
    trained = torch.load(tmp_path / start.name / "last.pth", weights_only=True)["model"]
    layers = dict(trainer.model.named_modules())
    teacher = next(layer for name, layer in layers.items() if name.endswith("_kd_original_model"))
    assert {name for name, _ in teacher.named_parameters()} < set(trained)
    assert all(torch.equal(value, trained[name]) for name, value in teacher.named_parameters())
    _, *others = [layer for name, layer in layers.items() if _is_conv(layer) and not name.startswith("_nncf")]
    assert others and all(len(channel.unique()) == 2 for layer in others for channel in layer.weight)


def test_rivals_are_measured_with_batch_norm_statistics_of_their_last_weights(tmp_path):
    start = DIGITS.float_start("w1a32", 0)
    start = replace(start, config={**start.config, "epochs": 1})
    job = DIGITS.rival("bwn_w1", ("Adam", 0.01), 0, False)
    job = replace(job, config={**job.config, "epochs": 2})
    results = pool.run_jobs([start, job], pool.Study(tmp_path))
    trainer = worker.make_trainer(job, tmp_path, None, "cpu")  # at the last epoch, with its running statistics
    running, measured = _loss(trainer), results[job.name]["val_loss"]
    batches = trainer.splits.loader("train", job.config["batch_size"])
    calibrate(trainer.model, lambda batch: trainer.model(batch[0]), batches)
    assert abs(_loss(trainer) - measured) < abs(running - measured) / 3


def _loss(trainer):
    return float(nn.functional.cross_entropy(*trainer.predict(trainer.splits.loader("val", 1000))))


def test_lsq_learns_its_step_by_the_papers_gradient():
    weight = nn.Parameter(torch.tensor([[[[0.2, 0.9, -5.0]]]]))
    quantizer = rivals.LSQ(weight, 2)
    quantizer.step.data.fill_(1.0)
    quantizer(weight).sum().backward()
    # levels -2..1; inside: round(w/s) - w/s; below the range: its lowest level. Gradient scale 1 / sqrt(3 * 1).
    expected = ((0 - 0.2) + (1 - 0.9) + -2) / 3**0.5
    assert quantizer.step.grad.item() == pytest.approx(expected, rel=1e-5)
    assert weight.grad.flatten().tolist() == [1, 1, 0]
