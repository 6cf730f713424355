"""What the search does at each moment, on plain tensors."""

import pytest
import torch

from nncf_slb.search import distribution as F
from nncf_slb.search.phases import Phase, PhasePlan
from nncf_slb.search.searchable import SearchableWeight, decide
from nncf_slb.search.temperature import TemperatureCurve
from nncf_slb.search.values import make_values

both_descents = pytest.mark.parametrize("descent", ["mirror", "gradient"])
CURVE = TemperatureCurve("linear", 1.0, 9.0, 1.0, 5.0)


def searchable(bits=2, seed=0, scale="per_channel", descent="mirror"):
    torch.manual_seed(seed)
    return SearchableWeight(torch.randn(6, 4, 3, 3), make_values("uniform", bits), None, scale, descent=descent).train()


def test_plan_passes_through_hand_computed_phases():
    plan = PhasePlan(CURVE, noise=0.5, decides_gradually=True)
    assert plan(0.0) == Phase(1.0, noise=0.5)
    assert plan(2.0) == Phase(3.0, noise=pytest.approx(0.3), decided=0.25)
    assert plan(5.0) == Phase(9.0, discrete=True, decided=1.0)
    assert not plan(4.9).discrete and not plan(5.0).straight_through


@both_descents
def test_after_the_end_choices_change_only_straight_through(descent):
    assert PhasePlan(CURVE, straight_through=True)(6.0) == Phase(9.0, discrete=True, straight_through=True)
    for straight_through in (False, True):
        module = searchable(descent=descent)
        module.phase = PhasePlan(CURVE, straight_through)(6.0)
        module().square().sum().backward()
        assert (module.searched.grad is not None) == straight_through
        assert module.scale.grad.abs().min() > 0


def test_straight_through_gives_chosen_weights_with_the_gradient_of_the_expected_ones():
    torch.manual_seed(0)
    values = torch.tensor([-1.0, 0.2, 1.0])
    logits = torch.randn(3, 5, 4, requires_grad=True)
    direction = torch.randn(5, 4)
    chosen = F.chosen_value(logits, values, 2.0)
    assert torch.equal(chosen, values[logits.argmax(0)])
    (straight,) = torch.autograd.grad((chosen * direction).sum(), logits)
    (soft,) = torch.autograd.grad((F.expected_value(logits, values, 2.0) * direction).sum(), logits)
    assert torch.equal(straight, soft)


def test_noise_draws_each_value_with_its_probability():
    torch.manual_seed(0)
    logits = torch.tensor([0.3, -0.5, 1.0]).view(3, 1).expand(3, 40_000)
    drawn = (logits / 0.5 + F.gumbel_noise(logits)).argmax(0)
    shares = torch.bincount(drawn, minlength=3) / drawn.numel()
    assert torch.allclose(shares, F.probabilities(logits[:, :1], 2.0).flatten(), atol=0.01)


def test_noise_touches_training_alone():
    module = searchable()
    module.phase = Phase(2.0, noise=1.0)
    assert not torch.equal(module(), module())
    module.eval()
    assert torch.equal(module(), module())


@both_descents
def test_the_most_confident_weights_are_decided_first_and_for_good(descent):
    module = searchable(descent=descent)
    module.decide_gradually()
    module.phase = Phase(1.5, decided=0.25)
    module.decide(0.25)
    fixed = module.final_codes != 255
    assert int(fixed.sum()) == round(0.25 * fixed.numel())
    assert module.confidence()[fixed].min() >= module.confidence()[~fixed].max()
    before = module.codes()
    module().sum().backward()
    gradient = module.searched.grad
    assert gradient[..., fixed].abs().max() == 0 and gradient[..., ~fixed].abs().max() > 0
    with torch.no_grad():
        module.searched.add_(torch.randn_like(module.searched))  # as an optimizer's momentum does later
    assert torch.equal(module.codes()[fixed], before[fixed])
    assert not torch.equal(module.codes()[~fixed], before[~fixed])
    weights = module() / module.multiplier()
    assert torch.equal(weights[fixed].detach().round(), module.value_table[before[fixed].long()])


def test_layers_are_decided_one_by_one_in_order_of_their_confidence():
    modules = [searchable(seed=seed) for seed in range(4)]
    for module, sharpen in zip(modules, (1.0, 4.0, 2.0, 8.0), strict=True):
        module.decide_gradually()
        with torch.no_grad():
            module.logits.mul_(sharpen)
    seen = []
    for share in (0.25, 0.5, 0.75, 1.0):
        decide(modules, share, whole_layers=True)
        seen.append([module.is_decided for module in modules])
    assert seen == [[False, False, False, True], [False, True, False, True], [False, True, True, True], [True] * 4]


def test_a_decision_needs_its_buffer():
    with pytest.raises(RuntimeError, match="decide_gradually"):
        searchable().decide(0.5)


def test_a_fixed_scale_is_kept_and_a_learned_one_is_trained():
    fixed, learned = searchable(scale="per_channel_fixed"), searchable()
    assert torch.equal(fixed.scale, learned.scale)
    assert [name for name, _ in fixed.named_parameters()] == ["shift"]
    assert "scale" in fixed.state_dict() and torch.equal(fixed(), learned())


def test_mirror_descent_moves_each_distribution_along_its_values_as_a_float_weight_would_move():
    weight, step = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0)), 0.05
    values = make_values("uniform", 4)
    module = SearchableWeight(weight, values, None, "per_channel_fixed").train()
    assert module.searched is module.shift
    direction = torch.randn_like(weight)
    (module() * direction).sum().backward()
    torch.testing.assert_close(module.shift.grad, direction)
    with torch.no_grad():
        module.shift.add_(step)
    moved = SearchableWeight(weight + step, values, None, "per_channel_fixed", descent="gradient")
    with torch.no_grad():
        moved.scale.copy_(module.scale)
        numbers = module.value_table * values.step
        scaled = (weight + step) / module.scale.view(-1, 1, 1, 1)
        inside = (scaled < numbers[-1]) & (weight / module.scale.view(-1, 1, 1, 1) > numbers[0])
        moved.logits.copy_(F.logits_from_weight(scaled, numbers, 2.0))
        assert inside.float().mean() > 0.8
        torch.testing.assert_close(module()[inside], moved()[inside])
        assert torch.equal(module.codes()[inside], moved.codes()[inside])


def test_mirror_descent_starts_where_gradient_descent_starts():
    weight, values = torch.randn(6, 4, 3, 3), make_values("uniform", 2)
    mirror, gradient = (
        SearchableWeight(weight, values, None, "per_channel", descent=descent).train()
        for descent in ("mirror", "gradient")
    )
    assert torch.equal(mirror(), gradient())
    assert torch.equal(mirror.confidence(), gradient.confidence())
