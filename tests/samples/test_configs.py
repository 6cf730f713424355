"""Every recipe: it is valid, builds its network, and quantizes what its name says; files in configs/ equal theirs."""

import json
import re
from pathlib import Path

import nncf_slb  # noqa: F401  first: it prepares NNCF's environment

# isort: split
import pytest
import torch
from nncf import NNCFConfig
from nncf.torch import create_compressed_model, register_default_init_args
from nncf.torch.module_operations import UpdateWeight
from nncf.torch.quantization.layers import BaseQuantizer
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, TensorDataset

from nncf_slb.search.activations import ActivationQuantizer
from nncf_slb.search.searchable import SearchableWeight
from samples.classification.models import MODELS
from samples.classification.models.resnet import BasicBlock, BiRealBlock
from samples.classification.recipes import PAIRS, RECIPES
from samples.classification.trainer import TASK
from samples.super_resolution import recipes as super_resolution
from samples.training.settings import Settings, check

FILES = sorted((Path(__file__).resolve().parents[2] / "configs").glob("*/*.json"))
COMPRESSED = [name for name in RECIPES if not name.endswith("_float")]
NAME = re.compile(
    r"(?P<start>(?P<model>digits_net|small_resnet|resnet20|resnet18|vgg_small)_(?P<dataset>[a-z0-9_]+?))"
    r"(_(?P<form>bireal|hardtanh))?_(float|(?P<mixed>mixed)?w?(?P<weights>\d)a(?P<inputs>\d+)(?P<paper>_paper)?)"
)
IMAGES = 7  # no layer has as many channels, so that sums of images can be told from sums of weights


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """These networks are so narrow that threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def read_name(name):
    return NAME.fullmatch(name).groupdict()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_config_file_is_what_its_recipe_makes(path):
    recipes = {"classification": RECIPES, "super_resolution": super_resolution.RECIPES}[path.parent.name]
    assert json.loads(path.read_text()) == recipes[path.stem]


def test_the_papers_factor_is_larger_with_full_precision_activations():
    def factor(name):
        return RECIPES[f"{name}_paper"]["compression"]["params"]["inverse_temperature_factor"]

    for start in ("resnet20_cifar10", "vgg_small_cifar10"):
        factors = [factor(f"{start}_w{weights}a4") for weights in (1, 2, 4)]
        assert factors == [1.03, 1.04, 1.05]
        assert [factor(f"{start}_w{weights}a32") for weights in (1, 2, 4)] == [1.04, 1.05, 1.06]
    assert {factor(f"resnet18_imagenet_w{w}a{a}") for w, a in PAIRS} == {1.05}


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_loads_and_makes_its_network(recipe, tmp_path):
    config, name = RECIPES[recipe], read_name(recipe)
    check(Settings(config, tmp_path), TASK)
    assert (config["model"], config["dataset"]) == (name["model"], name["dataset"])
    assert ("compression" in config) == (name["weights"] is not None)
    with torch.device("meta"):
        network = make_network(config)
        assert network(torch.zeros(config["input_info"]["sample_size"])).shape == (1, config["num_classes"])
    residual, one_bit = "resnet" in name["model"], name["inputs"] == "1" or name["form"] is not None
    shortcuts_of_the_paper = name["model"] == "resnet18" and name["paper"] is not None
    assert has(network, BiRealBlock) == (residual and (one_bit or shortcuts_of_the_paper))
    assert has(network, nn.Hardtanh) == (not residual and one_bit)


@pytest.mark.parametrize("recipe", COMPRESSED)
def test_every_search_has_a_float_recipe_of_its_network(recipe):
    config, name = RECIPES[recipe], read_name(recipe)
    if name["paper"]:
        assert config["compression"]["initializer"]["logits"] == "random"
        return
    starts = [RECIPES[other] for other in RECIPES if other.startswith(name["start"]) and other.endswith("_float")]
    same = ("model", "model_params", "dataset", "num_classes", "input_info")
    assert [all(start[key] == config[key] for key in same) for start in starts].count(True) == 1


@pytest.mark.parametrize("recipe", COMPRESSED)
def test_every_recipe_quantizes_what_its_name_says(recipe):
    config, name = RECIPES[recipe], read_name(recipe)
    torch.manual_seed(0)
    network = with_fitting_batchnorm(narrowed(make_network(config)), images_for(config))
    layers = [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    kept = {layers[0], layers[-1], *(layer for layer in layers if has(network, BiRealBlock) and "shortcut" in layer)}
    model = compress(network, config)
    modules = dict(model.named_modules())
    weight_bits, input_bits = int(name["weights"]), int(name["inputs"])
    nncf_takes_part = not name["paper"] and input_bits < 32
    own_bits = input_bits if name["paper"] or input_bits < 8 else 32
    searched = {layer: slb_bits(modules[layer]) for layer in layers if slb_bits(modules[layer])}
    if name["mixed"]:
        assert set(searched) == set(layers) - kept and {inputs for _, inputs in searched.values()} == {own_bits}
        counts = {layer: network.get_submodule(layer).weight.numel() for layer in searched}
        assert sum(searched[layer][0] * counts[layer] for layer in searched) <= weight_bits * sum(counts.values())
        return
    assert searched == dict.fromkeys(set(layers) - kept, (weight_bits, own_bits))
    assert {layer for layer in layers if nncf_weight_bits(modules[layer]) == 8} == (kept if nncf_takes_part else set())
    with torch.no_grad(), Operands(model) as operands:
        model.eval()(images_for(config))
    for layer in searched:
        check_operands(*operands.of[layer], weight_bits, input_bits)
    if nncf_takes_part and input_bits < 8:
        check_full_precision_sums(network, operands.shortcuts)


def check_operands(inputs, weight, weight_bits, input_bits):
    assert all(len(channel.unique()) <= 2**weight_bits for channel in weight)
    if input_bits == 1:
        assert inputs.unique().tolist() == [-1, 1]
    elif input_bits == 32:
        assert len(inputs.unique()) > 256
    else:
        assert 2 <= len(inputs.unique()) <= 2**input_bits


def check_full_precision_sums(network, summands):
    shortcuts = []
    for block in network.modules():
        if isinstance(block, BasicBlock | BiRealBlock):
            shortcuts += [block.shortcut, nn.Identity()] if isinstance(block, BiRealBlock) else [block.shortcut]
    for shortcut, summand in zip(shortcuts, summands, strict=True):
        assert not isinstance(shortcut, nn.Identity) or len(summand.unique()) > 256


def make_network(config):
    return MODELS[config["model"]](num_classes=config["num_classes"], **config["model_params"])


def has(network, kind):
    return any(isinstance(module, kind) for module in network.modules())


def narrowed(network):
    """An eighth of the channels, for speed: which layers there are and how they are quantized stays the same."""

    def eighth(count):
        return count if count % 8 else count // 8

    for parent in list(network.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, nn.Conv2d):
                inputs, outputs = eighth(layer.in_channels), eighth(layer.out_channels)
                new = nn.Conv2d(inputs, outputs, layer.kernel_size, layer.stride, layer.padding, bias=False)
            elif isinstance(layer, nn.BatchNorm2d):
                new = nn.BatchNorm2d(eighth(layer.num_features))
            elif isinstance(layer, nn.PReLU):
                new = nn.PReLU(eighth(layer.num_parameters))
            elif isinstance(layer, nn.Linear):
                new = nn.Linear(eighth(layer.in_features), layer.out_features)
            else:
                continue
            setattr(parent, name, new)
    return network


@torch.no_grad()
def with_fitting_batchnorm(network, images):
    """As of a trained network; with the statistics that layers begin with, hardly a signal reaches the last ones."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    network.train()(images)
    return network


def images_for(config):
    return torch.randn(IMAGES, *config["input_info"]["sample_size"][1:], generator=torch.Generator().manual_seed(0))


def compress(network, config):
    data = DataLoader(TensorDataset(images_for(config), torch.zeros(IMAGES).long()), batch_size=IMAGES)
    nncf_config = register_default_init_args(NNCFConfig.from_dict(config), data)
    return create_compressed_model(network, nncf_config, dump_graphs=False)[1]


def slb_bits(layer):
    """Bits of (weights, inputs) that slb gave to a layer; None if it left it alone."""
    operands = [operation.op for operation in layer.pre_ops.values()]
    weights = [operand.values.bits for operand in operands if isinstance(operand, SearchableWeight)]
    inputs = [operand.bits for operand in operands if isinstance(operand, ActivationQuantizer)]
    return (*weights, *(inputs or [32])) if weights or inputs else None


def nncf_weight_bits(layer):
    operations = [operation for operation in layer.pre_ops.values() if isinstance(operation, UpdateWeight)]
    return next((o.op.num_bits for o in operations if isinstance(o.op, BaseQuantizer)), None)


class Operands(TorchDispatchMode):
    """Within it, remembers (input, weight) of convolutions by their layer's name, and what shortcuts add to sums."""

    def __init__(self, model):
        super().__init__()
        self.of, self.shortcuts, self._name = {}, [], None
        for name, module in model.named_modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_pre_hook(lambda *_, name=name: self._enter(name))

    def _enter(self, name):
        self._name = name

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.convolution.default:
            self.of[self._name] = args[:2]
        elif function is torch.ops.aten.add.Tensor and all(getattr(x, "shape", [0])[:1] == (IMAGES,) for x in args):
            self.shortcuts.append(args[1])
        return function(*args, **(kwargs or {}))
