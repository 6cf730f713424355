"""What the search does at each moment, on plain tensors."""

import pytest
import torch

from nncf_slb.search import distribution as F
from nncf_slb.search.phases import Phase, SearchClock
from nncf_slb.search.searchable import SearchableWeight
from nncf_slb.search.state import WeightKind
from nncf_slb.search.temperature import TemperatureCurve
from nncf_slb.search.values import make_values

both_descents = pytest.mark.parametrize("descent", ["mirror", "gradient"])
CURVE = TemperatureCurve("linear", 1.0, 9.0, 1.0, 5.0)


def searchable(bits=2, seed=0, scale="per_channel", descent="mirror"):
    torch.manual_seed(seed)
    return begun(torch.randn(6, 4, 3, 3), make_values("uniform", bits), scale, descent=descent)


def begun(weight, values, scale, **settings):
    layer = torch.nn.Conv2d(weight.shape[1], len(weight), weight.shape[2:])
    layer.weight.data = weight.clone()
    module = SearchableWeight(layer, values, scale, **settings).train()
    module.begin()
    return module


def test_clock_passes_through_hand_computed_phases():
    clock = SearchClock(CURVE, per_step=True, steps_per_epoch=10)
    assert clock.phase == Phase(1.0) and not clock.temperature_falls
    phases = {}
    for epoch in range(6):
        clock.begin_epoch(epoch)
        for _ in range(10):
            clock.advance(1)
            phases[round(clock.position, 6)] = clock.phase
    assert phases[0.5] == phases[1.0] == Phase(1.0)
    assert phases[2.0] == Phase(3.0) and phases[2.5] == Phase(pytest.approx(4.0))
    assert phases[5.0] == Phase(9.0, discrete=True) and not phases[4.9].discrete
    assert clock.temperature_falls


def test_clock_counts_steps_for_the_next_epoch_where_it_is_told_no_number():
    clock = SearchClock(CURVE, per_step=True)
    for epoch in (0, 1, 2):
        clock.begin_epoch(epoch)
        for _ in range(4):
            clock.advance(1)
    assert clock.position == 2.75


def test_clock_goes_on_where_its_state_was_taken():
    whole, halves = SearchClock(CURVE, per_step=True), SearchClock(CURVE, per_step=True)
    for epoch in (0, 1):
        whole.begin_epoch(epoch)
        whole.advance(5)
    halves.load_state(whole.get_state(), epoch=1)
    for clock in (whole, halves):
        clock.advance(2)
    assert whole.position == halves.position and whole.get_state() == halves.get_state()


@pytest.mark.parametrize("steps", [1, 2, 3, 40])
@pytest.mark.parametrize("epochs", [1, 3])
def test_the_last_step_is_discrete_however_few_steps_an_epoch_has(epochs, steps):
    curve = TemperatureCurve("exponential", 1.0, 20.0, 0.0, 0.85 * epochs)
    clock = SearchClock(curve, per_step=True, steps_per_epoch=steps, epochs=epochs)
    phases = []
    for epoch in range(epochs):
        clock.begin_epoch(epoch)
        for _ in range(steps):
            clock.advance(1)
            phases.append(clock.phase)
    assert phases[-1].discrete and phases[-1].inverse_temperature == 20.0
    assert not any(phase.discrete for phase in phases[: int(0.8 * len(phases))])


def test_after_the_end_of_gradient_descent_only_scales_train():
    module = searchable(descent="gradient")
    module.search.phase = Phase(9.0, discrete=True)
    module().square().sum().backward()
    assert not module.searched.grad.any() and module.scale.grad.abs().min() > 0  # zeros, for several processes


def test_after_the_end_of_mirror_descent_latents_move_behind_discrete_weights():
    module = searchable()
    chosen = module.eval()()
    module.train().search.phase = Phase(9.0, discrete=True)
    assert torch.equal(module(), chosen)
    module().sum().backward()
    torch.testing.assert_close(module.searched.grad, torch.ones_like(module.searched))
    assert module.scale.grad.abs().min() > 0


@both_descents
def test_a_kind_of_weights_holds_in_every_mode_and_phase(descent):
    module = searchable(descent=descent)
    expected, chosen = module(), module.eval()()
    with module.search.using(WeightKind.EXPECTED):
        assert torch.equal(module(), expected)
    with module.train().search.using(WeightKind.CHOSEN):
        assert torch.equal(module(), chosen)
    assert torch.equal(module(), expected)


def test_a_fixed_scale_is_kept_and_a_learned_one_is_trained():
    fixed, learned = searchable(scale="per_channel_fixed"), searchable()
    assert torch.equal(fixed.scale, learned.scale)
    assert [name for name, _ in fixed.named_parameters()] == []
    assert "scale" in fixed.state_dict() and torch.equal(fixed(), learned())


def test_mirror_descent_moves_each_distribution_along_its_values_as_a_float_weight_would_move():
    weight, step = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0)), 0.05
    values = make_values("uniform", 4)
    module = begun(weight, values, "per_channel_fixed")
    direction = torch.randn_like(weight)
    (module() * direction).sum().backward()
    torch.testing.assert_close(module.searched.grad, direction)
    with torch.no_grad():
        module.searched.add_(step)
    moved = begun(weight + step, values, "per_channel_fixed", descent="gradient")
    with torch.no_grad():
        moved.scale.copy_(module.scale)
        numbers = module.value_table * values.step
        scaled = (weight + step) / module.scale.view(-1, 1, 1, 1)
        inside = (scaled < numbers[-1]) & (weight / module.scale.view(-1, 1, 1, 1) > numbers[0])
        moved.descent.logits.copy_(F.logits_from_weight(scaled, numbers, 2.0))
        assert inside.float().mean() > 0.8
        torch.testing.assert_close(module()[inside], moved()[inside])
        assert torch.equal(module.codes()[inside], moved.codes()[inside])


def test_mirror_descent_starts_where_gradient_descent_starts():
    weight, values = torch.randn(6, 4, 3, 3), make_values("uniform", 2)
    mirror, gradient = (begun(weight, values, "per_channel", descent=descent) for descent in ("mirror", "gradient"))
    torch.testing.assert_close(mirror(), gradient())
    torch.testing.assert_close(mirror.confidence(), gradient.confidence())
    assert torch.equal(mirror.codes(), gradient.codes())
