"""A trained network and unlabeled samples in, a low-bit network out: on digits, and on networks of other kinds."""

import _thread
import copy
import json

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

import nncf_slb
from nncf_slb.config.errors import ConfigError
from nncf_slb.errors import DataError, SettingError
from nncf_slb.hosts.torch.planning import NothingToSearchError
from nncf_slb.openvino.network import IrNetwork
from nncf_slb.reports.data import read_run
from nncf_slb.search.finite import NotFiniteError
from nncf_slb.search.runtime import CodedWeight, FixedActivation
from tests.plain_networks import DigitsNet, Tokens, TwoInputs, Unusual

EXACT = {"INFERENCE_PRECISION_HINT": "f32"}


@pytest.fixture(scope="module")
def digits():
    images, labels = load_digits(return_X_y=True)
    x = torch.from_numpy(images.reshape(-1, 1, 8, 8).astype(np.float32) / 8 - 1)
    return x[:1400], torch.from_numpy(labels[:1400]), x[1400:], torch.from_numpy(labels[1400:])


@pytest.fixture(scope="module")
def trained(digits):
    images, labels, _, _ = digits
    torch.manual_seed(0)
    model = DigitsNet()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(15):
        for rows in torch.randperm(len(images)).split(100):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[rows]), labels[rows]).backward()
            optimizer.step()
    return model.eval()


def quick(model, images, **settings):
    return nncf_slb.search_post_training(model, images, **{"steps": 3, **settings})


def accuracy(digits):
    _, _, images, labels = digits

    def score(network):
        return 100 * (network(images).argmax(1) == labels).float().mean().item()

    return score


@pytest.mark.parametrize("settings", [{"bits": 1}, {"bits": 2, "activations": 8}, {"bits": 3, "activations": 4}])
def test_a_search_beats_nearest_values_and_its_file_is_the_network(trained, digits, settings, tmp_path):
    result = nncf_slb.search_post_training(trained, digits[0], steps=150, score=accuracy(digits), edges=8, **settings)
    full, nearest, searched = result.rows  # an image is 0.25 points, and some nearest values lose none
    assert nearest.score < searched.score + 0.51 and searched.score > full.score - 5
    assert searched.agreement.value >= nearest.agreement.value > 50 and searched.agreement.unit == "%"
    path = result.export(tmp_path / "model.xml")
    with torch.no_grad():
        expected, received = result.model(digits[2]), IrNetwork(path, properties=EXACT)(digits[2])
    if settings.get("activations", 32) == 32:
        torch.testing.assert_close(received, expected, rtol=1e-4, atol=1e-4)
    assert nncf_slb.verify_openvino(result.model, path, digits[2].numpy()).passed
    of_file = result.rows[-1]
    assert of_file.name == "model.xml" and of_file.bytes == path.with_suffix(".bin").stat().st_size
    assert abs(of_file.score - searched.score) < 0.6  # two images: bf16 and 8-bit inputs have borders of their own
    text = result.report()
    assert "times smaller" in text and "model.xml" in text and "samples that the search has not seen" in text


def test_the_model_stays_as_it_was(trained, digits):
    model = copy.deepcopy(trained).train()
    model.features[0].eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    torch.manual_seed(3)
    state = torch.get_rng_state()
    result = quick(model, digits[0][:300])
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert not result.model.training


def codes(result):
    return [module.codes for module in result.model.modules() if isinstance(module, CodedWeight)]


def test_a_seed_gives_the_same_codes_however_the_samples_come(trained, digits):
    first = quick(trained, digits[0][:400], steps=6, seed=5)
    in_batches = [(part, torch.zeros(len(part))) for part in digits[0][:400].split(70)]
    second = quick(trained, in_batches, steps=6, seed=5)
    other = quick(trained, digits[0][:400], steps=6, seed=6)
    assert all(torch.equal(a, b) for a, b in zip(codes(first), codes(second), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(codes(first), codes(other), strict=True))


def test_latencies_stand_beside_their_networks(trained, digits, tmp_path):
    found = quick(trained, digits[0][:200], log_dir=tmp_path / "log")
    found.export(tmp_path / "model.xml")
    found.record_latency("float", 3.0)
    found.record_latency("model.xml", 1.5)
    cells = {line.split()[0]: line.split()[-1] for line in found.report().splitlines()[2:6]}
    assert cells == {"float": "3.000", "nearest": "-", "searched": "-", "model.xml": "1.500"}
    run = read_run(tmp_path / "log", latency=False)
    assert [run.networks[name].milliseconds for name in ("float", "IR")] == [3.0, 1.5]
    with pytest.raises(SettingError, match=r"name: received 'IR'; allowed: float, model\.xml"):
        found.record_latency("IR", 1.0)


def test_an_interrupted_search_keeps_what_there_is_and_goes_on_with_the_same_bits(trained, digits, tmp_path, caplog):
    whole = quick(trained, digits[0][:400], steps=9)
    file = tmp_path / "search.pt"

    def interrupt(progress):
        if progress.step == 4:
            # As Ctrl-C does. A signal of the system's would need more room for AMX's registers than pytest's handler of
            # faults has, once this thread has used them.
            _thread.interrupt_main()

    part = quick(trained, digits[0][:400], steps=9, checkpoint=file, progress=interrupt)
    assert part.interrupted and "interrupted at step 4" in caplog.text and "interrupted" in part.report()
    steps = []
    rest = quick(trained, digits[0][:400], steps=9, checkpoint=file, progress=lambda p: steps.append(p.step))
    assert steps == [5, 6, 7, 8, 9] and not rest.interrupted
    assert all(torch.equal(a, b) for a, b in zip(codes(whole), codes(rest), strict=True))
    with pytest.raises(SettingError, match="other settings"):
        quick(trained, digits[0][:400], steps=9, bits=3, checkpoint=file)
    file.write_bytes(b"not a checkpoint")
    with pytest.raises(SettingError, match="no file of a search"):
        quick(trained, digits[0][:400], steps=9, checkpoint=file)


@pytest.mark.parametrize(
    ("edges", "bits"),
    [
        ("search", {"features.0": 2, "features.3": 2, "features.6": 2, "head": 2}),
        ("float", {"features.3": 2, "features.6": 2}),
        (8, {"features.0": 8, "features.3": 2, "features.6": 2, "head": 8}),
    ],
)
def test_first_and_last_layers_get_what_edges_says(trained, digits, edges, bits, tmp_path):
    result = quick(trained, digits[0][:200], edges=edges, activations=8)
    assert result.bits == bits
    assert ("head" in result.full_precision) == (edges == "float")
    assert isinstance(result.model.features[0], CodedWeight) == (edges != "float")
    if edges == 8:
        quantizer = result.model.features[0].input_quantizer
        assert isinstance(quantizer, FixedActivation) and quantizer.bits == 8
        inspection = nncf_slb.inspect_openvino(result.export(tmp_path / "model.xml"))
        stored = {layer.name: layer.stored for layer in inspection.layers}
        assert stored["features.0"] == stored["head"] == "i8" and stored["features.3"] == "u2"


def test_steps_of_quantized_inputs_are_trained_but_8_bit_ones_of_the_network_take_all_that_they_see(trained, digits):
    def steps(bits, count):
        result = quick(trained, digits[0][:200], edges="search", activations=bits, steps=count)
        return [float(m.step) for m in result.model.modules() if isinstance(m, FixedActivation)]

    for bits in (8, 4):
        first, *others = zip(steps(bits, 1), steps(bits, 20), strict=True)
        assert all(a != b for a, b in others)
        if bits == 8:
            assert first[0] <= first[1] == pytest.approx(float(digits[0][:175].abs().max()) / 127, rel=0.02)


def test_a_config_says_the_same_as_arguments(trained, digits, tmp_path):
    section = {"algorithm": "slb", "weights": {"bits": 3, "edges": "float"}, "activations": {"bits": 4}}
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"compression": section}))
    results = [
        quick(trained, digits[0][:200], bits=3, activations=4, edges="float"),
        quick(trained, digits[0][:200], config=section),
        quick(trained, digits[0][:200], config=path),
    ]
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(codes(results[0]), codes(other), strict=True))


def test_bits_are_chosen_within_a_budget(trained, digits):
    result = quick(trained, digits[0][:300], bits="auto", budget={"mean_bits": 2.5}, edges="search")
    sizes = {path: result.model.get_submodule(path).codes.numel() for path in result.bits}
    assert sum(result.bits[path] * size for path, size in sizes.items()) <= 2.5 * sum(sizes.values())
    assert len(set(result.bits.values())) > 1


@pytest.mark.parametrize("activations", [32, 8, 2])
def test_bytes_of_the_file_stay_within_a_budget_and_use_it(trained, digits, activations, tmp_path):
    sizes = {}
    for budget in (4000, 5000, 6500):
        result = quick(trained, digits[0][:300], bits="auto", budget={"bytes": budget}, activations=activations)
        sizes[budget] = result.export(tmp_path / "model.xml").with_suffix(".bin").stat().st_size
        assert 0.7 * budget < sizes[budget] <= budget
    with pytest.raises(SettingError, match=r"budget\.bytes: received 100; allowed is at least"):
        quick(trained, digits[0][:300], bits="auto", budget={"bytes": 100}, activations=activations)


def test_the_fewest_bits_are_found_that_hold_a_drop(trained, digits):
    tight, loose = (
        nncf_slb.search_post_training(trained, digits[0], max_drop=drop, score=accuracy(digits), steps=60)
        for drop in (1.0, 6.0)
    )
    for result, drop in ((tight, 1.0), (loose, 6.0)):
        assert result.rows[0].score - result.rows[-1].score <= drop
    assert sum(loose.bits.values()) < sum(tight.bits.values())
    with pytest.raises(SettingError, match="and these lose: .*4 mean bits 1.00"):
        quick(trained, digits[0], max_drop=1e-9, score=_whether_float)


def _whether_float(network):
    return float(not any(isinstance(module, CodedWeight) for module in network.modules()))


@pytest.mark.parametrize("make", [Tokens, TwoInputs, Unusual])
@pytest.mark.parametrize("activations", [32, 8])
def test_networks_of_other_kinds(make, activations, tmp_path):
    torch.manual_seed(0)
    model = make()
    result = quick(model, make.batches(4, 30), inputs=make.inputs, activations=activations, steps=20)
    path = result.export(tmp_path / "model.xml")
    args, kwargs = make.inputs(make.batches(1, 5)[0])
    with torch.no_grad():
        expected = [x for x in torch.utils._pytree.tree_leaves(result.model(*args, **kwargs))]
    received = IrNetwork(path, properties=EXACT)(*args, **kwargs)
    for ours, theirs in zip(received if isinstance(received, tuple) else (received,), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-3, atol=2e-3)


WRONG = [
    ({"images": []}, DataError, "received 0 samples"),
    ({"images": torch.zeros(0, 1, 8, 8)}, DataError, "received 0 samples"),
    ({"images": np.zeros((40, 1, 8, 8), np.float32)}, DataError, "batches of ndarray; torch.from_numpy"),
    ({"images": torch.zeros(1, 1, 8, 8)}, DataError, "received 1 samples"),
    ({"images": torch.full((4, 1, 8, 8), torch.nan)}, DataError, "NaN or an infinity in the batch.*sample 0"),
    ({"images": torch.zeros(4, 3, 8, 8)}, DataError, "does not run on them"),
    ({"images": 5}, DataError, "received int"),
    ({"images": (1 / 0 for _ in range(2))}, DataError, "failed after 0 samples.*ZeroDivisionError"),
    ({"model": nn.Sequential()}, SettingError, "without parameters"),
    ({"model": "model.pth"}, SettingError, "received str"),
    ({"model": nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64))}, NothingToSearchError, "runs no layer with weights"),
    ({"model": nn.Sequential(nn.Flatten(), nn.Linear(64, 10))}, NothingToSearchError, '"edges": "search"'),
    ({"bits": 5}, ConfigError, "weights.bits: received 5"),
    ({"bits": "auto"}, ConfigError, "weights.budget"),
    ({"activations": 3}, ConfigError, "activations.bits: received 3"),
    ({"edges": 4}, ConfigError, "weights.edges: received 4"),
    ({"bits": 2, "config": {"weights": {"bits": 3}}}, SettingError, "Leave one out"),
    ({"config": {"params": {"descent": "gradient"}}}, ConfigError, "mirror"),
    ({"config": {"ignored_scopes": "features.4"}}, ConfigError, "such as \"features"),
    ({"config": {"ignored_scopes": "Net/Sequential[features]/NNCFConv2d[3]/conv2d_0"}}, ConfigError, '"features.3"'),
    ({"config": {"ignored_scopes": "features"}}, ConfigError, "for the 3 layers in it"),
    ({"config": "missing.json"}, SettingError, "does not exist"),
    ({"max_drop": 0}, SettingError, "max_drop: received 0"),
    ({"max_drop": 0.5, "bits": 2}, SettingError, "beside bits 2"),
    ({"bits": "auto", "budget": {"mean_bits": 0.5}}, ConfigError, "budget.mean_bits: received 0.5"),
    ({"steps": 0}, SettingError, "steps: received 0"),
    ({"batch_size": 1}, SettingError, "batch_size: received 1"),
    ({"num_samples": 1}, SettingError, "num_samples: received 1"),
    ({"num_samples": "all"}, SettingError, "num_samples: received 'all'"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "kind", "message"), WRONG)
def test_what_cannot_be_used_is_one_error(settings, kind, message):
    settings = {"model": DigitsNet(), "images": torch.randn(20, 1, 8, 8), **settings}
    with pytest.raises(kind, match=message):
        quick(settings.pop("model"), settings.pop("images"), **settings)


def test_networks_and_outputs_that_are_not_finite_are_named():
    model = DigitsNet()
    with torch.no_grad():
        model.head.weight[0, 0] = float("inf")
    with pytest.raises(NotFiniteError, match=r"head\.weight"):
        quick(model, torch.randn(20, 1, 8, 8))


def test_a_loader_that_raises_midway_says_where():
    def images():
        yield torch.randn(10, 1, 8, 8)
        raise OSError("disk gone")

    with pytest.raises(DataError, match=r"failed after 10 samples \(OSError: disk gone\)"):
        quick(DigitsNet(), images())


def test_a_searched_network_is_refused(trained, digits):
    result = quick(trained, digits[0][:200])
    with pytest.raises(SettingError, match="low-bit already"):
        quick(result.model, digits[0][:200])


def test_images_of_changing_size_stay_in_their_batches():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Conv2d(4, 1, 3))
    result = quick(model, [torch.randn(2, 1, size, size + 2) for size in (8, 9, 12, 10, 8, 11)])
    assert result.rows[-1].agreement.unit == "dB" and result.bits == {"0": 8, "2": 2, "4": 8}
