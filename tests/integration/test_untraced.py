"""NNCF's tracing runs where an algorithm needs it, and nowhere else; outputs do not depend on it."""

import copy

import pytest
import torch
from torch import nn

from tests.networks import Small, compress, digits, make_config, train

SIZE = [50, 1, 8, 8]
QUANTIZATION = {"algorithm": "quantization", "initializer": {"range": {"num_init_samples": 50}}}
TEACHER = {"algorithm": "knowledge_distillation", "type": "softmax", "scale": 0.5, "temperature": 4}


def was_traced(model, x):
    from nncf.torch.dynamic_graph.context import get_current_context

    seen = []
    handle = model.second.register_forward_pre_hook(lambda *_: seen.append(get_current_context() is not None))
    model(x)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize(
    ("others", "traced"),
    [([], False), ([TEACHER], False), ([{**QUANTIZATION, "weights": {"ignored_scopes": ["{re}second"]}}], True)],
)
def test_passes_are_traced_only_where_an_operation_is_hooked(others, traced):
    loader, x, _ = digits()
    section = {"ignored_scopes": ["{re}first", "{re}head"]}
    _, model = compress(Small(), make_config(SIZE, section, others), loader)
    for mode in (model.train(), model.eval()):
        assert was_traced(mode, x[:50]) == traced


@pytest.mark.parametrize("activations", [32, 4, 1])
def test_outputs_and_gradients_are_the_same_bits_with_tracing(monkeypatch, activations):
    results = []
    for traced in (False, True):
        torch.manual_seed(0)
        loader, x, y = digits()
        ctrl, model = compress(Small(), make_config(SIZE, {"activations": {"bits": activations}}), loader)
        if traced:
            monkeypatch.setattr("nncf_slb.hosts.nncf2.untraced._needs_tracing", lambda interface: True)
            monkeypatch.setattr("nncf_slb.hosts.nncf2.modules._run_directly", lambda layer, args: None)
        train(ctrl, model, loader, 1)
        model.train()
        nn.functional.cross_entropy(model(x[:50]), y[:50]).backward()
        results.append([model.eval()(x[:50]), *(p.grad for p in model.parameters() if p.grad is not None)])
    assert len(results[0]) == len(results[1]) > 5
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_distillation_has_its_teacher_without_tracing():
    loader, x, _ = digits()
    ctrl, model = compress(Small(), make_config(SIZE, None, [TEACHER]), loader)
    ctrl.scheduler.epoch_step()
    model.train()(x[:50])
    assert float(ctrl.loss()) > 0


def test_copies_and_wrapped_calls_run_as_the_model_does():
    loader, x, _ = digits()
    ctrl, model = compress(Small(), make_config(SIZE), loader)
    train(ctrl, model, loader, 1)
    expected = model(x[:50])
    duplicate = copy.deepcopy(model)
    assert not was_traced(duplicate, x[:50])
    assert torch.equal(duplicate(x[:50]), expected)
    assert model.nncf.get_graph().get_nodes_count() > 5  # NNCF's own graph is traced as ever
    model.nncf.rebuild_graph()
