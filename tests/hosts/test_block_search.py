"""A search without labels, one block after the other: which blocks, what they are called with, and what it gives."""

import _thread
import copy

import pytest
import torch
from torch import nn

import nncf_slb
from nncf_slb.errors import SettingError
from nncf_slb.hosts.torch import block_search
from nncf_slb.reports.data import read_run
from nncf_slb.search.blocks import Block, BlockInputs, find_blocks
from nncf_slb.search.runtime import CodedWeight
from tests.plain_networks import TwoInputs


class Residual(nn.Module):
    """Changes what it is called with in place, as its first step."""

    def __init__(self, channels=8):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, x, *, scaled=1.0):
        x = x.relu_()
        y = self.norm1(self.conv1(x)).relu_()
        return x + self.norm2(self.conv2(y)) * scaled


class Blocks(nn.Module):
    """A stem, four residual blocks of which one runs twice, and a head."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.ModuleList(Residual() for _ in range(4))
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        x = self.stem(x)
        for index in (0, 1, 2, 1, 3):
            x = self.blocks[index](x, scaled=0.5)
        return self.head(x.mean((2, 3)))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    network = Blocks()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    images = images_of(64)
    with torch.no_grad():
        for _ in range(20):
            network(images.clone())
    return network.eval()


def images_of(count):
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def paths(network, layers, *inputs, searched=None):
    return [block.path for block in find_blocks(network, searched or network, layers, [lambda: network(*inputs)])]


def layers_of(network):
    return [path for path, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]


def by_blocks(model, images, **settings):
    settings = {"steps": 3, "granularity": "block", **settings}
    return nncf_slb.search_post_training(model, images, **settings)


def codes(result):
    return [module.codes for module in result.model.modules() if isinstance(module, CodedWeight)]


def test_blocks_are_the_largest_modules_with_six_layers_in_the_order_of_their_run(model):
    searched = [path for path in layers_of(model) if path.startswith("blocks")]
    found = find_blocks(model, model, searched, [lambda: model(images_of(2))])
    assert [(block.path, block.calls) for block in found] == [(f"blocks.{k}", 2 if k == 1 else 1) for k in range(4)]
    assert all(block.activation_bytes == block.calls * 2 * 8 * 64 * 4 * 4 for block in found)
    assert paths(model, ["blocks.2.conv1", "head"], images_of(2)) == [""]


def test_a_block_that_does_not_run_as_one_or_shares_weights_gives_way_to_the_module_around_it():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(*(nn.Linear(4, 4) for _ in range(4)))
            self.outer = nn.Sequential(*(nn.Linear(4, 4) for _ in range(4)))

        def forward(self, x):
            for layer in self.inner:  # the Sequential itself is not called
                x = layer(x)
            return self.outer(x)

    network = Functional()
    layers = layers_of(network)
    assert paths(network, layers, torch.zeros(1, 4)) == [""]
    assert paths(network, layers[4:], torch.zeros(1, 4)) == [""]  # four layers: the network itself
    network.outer.extend(nn.Linear(4, 4) for _ in range(4))
    assert paths(network, layers_of(network)[4:], torch.zeros(1, 4)) == [f"outer.{k}" for k in range(8)]
    network.outer[7].weight = network.outer[0].weight
    assert paths(network, layers_of(network)[4:], torch.zeros(1, 4)) == ["outer"]


class Skips(nn.Module):
    """Its decoder reads what its encoder has left in an attribute, and some batches leave a block out."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder, self.rare = Encoder(), Decoder(), nn.Sequential(nn.Conv2d(8, 8, 3, padding=1))
        self.decoder.read = [self.encoder]  # in a list, where torch sees no module
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.decoder(self.encoder(x))
        x = x + self.rare(x) if float(x.mean()) > 0 else x
        return self.head(x.mean((2, 3)))


class Encoder(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), *layers(3))

    def forward(self, x):
        self.kept = super().forward(x)
        return -self.kept


class Decoder(nn.Sequential):
    def __init__(self):
        super().__init__(*layers(4))

    def forward(self, x):
        return super().forward(x + 2 * self.read[0].kept)


def layers(count):
    return [nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular") for _ in range(count)]


def test_a_block_that_reads_what_another_one_left_gives_way_to_the_module_around_it():
    torch.manual_seed(0)
    network, (one, two) = Skips().eval(), images_of(2).split(1)
    searched = [path for path in layers_of(network) if path.startswith(("encoder", "decoder"))]

    def found(*inputs):
        runs = [lambda x=x: network(x) for x in inputs]
        return [block.path for block in find_blocks(network, network, searched, runs)]

    assert found(one) == ["encoder", "decoder"]  # with one sample, there is nothing else that it could have left
    assert found(one, two) == [""] == found(one, images_of(4)[2:])


def test_a_block_that_some_batches_leave_out_is_searched_with_the_others(caplog):
    class Sometimes(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.one, self.two = nn.Conv2d(3, 8, 3), nn.Sequential(*layers(4)), nn.Sequential(*layers(4))
            self.head = nn.Linear(8, 4)

        def forward(self, x):
            x = self.stem(x)
            x = self.two(self.one(x) if float(x[0].sum()) > 0 else x)
            return self.head(x.mean((2, 3)))

    torch.manual_seed(0)
    images = images_of(120)
    for given in (images, -images):
        result = by_blocks(Sometimes(), given, batch_size=10, dry_export=False)
        assert not result.interrupted and set(result.bits.values()) == {2, 8}


def test_blocks_whose_means_say_nothing_are_searched_as_well():
    """Image to image with instance norm: means over positions are zero up to rounding."""
    torch.manual_seed(0)
    one = [nn.Conv2d(8, 8, 3, padding=1), nn.InstanceNorm2d(8)]
    norms = [copy.deepcopy(nn.Sequential(*one, nn.ReLU(), *copy.deepcopy(one))) for _ in range(4)]
    for layer in (layer for norm in norms for layer in norm if isinstance(layer, nn.Conv2d)):
        layer.reset_parameters()
    left = []
    for network in (
        nn.Sequential(nn.Conv2d(3, 8, 3), *norms, nn.Conv2d(8, 3, 3)),
        nn.Sequential(nn.Conv2d(3, 8, 3), *norms, nn.Flatten(), nn.Linear(8 * 36, 5)),
    ):
        network.eval()
        images = images_of(400)
        error = {}
        for steps in (1, 200):
            found = by_blocks(network, images, bits=2, steps=steps, num_samples=300, batch_size=30, dry_export=False)
            with torch.no_grad():
                error[steps] = float((found.model(images[300:]) - network(images[300:])).square().mean())
        left.append(error[200] / error[1])
    assert sum(left) < 1.3, left  # 1.16; 1.42 with means that count as elsewhere


class Keeps(nn.Module):
    """Keeps a tensor of its last pass, as for a plot; without batch norm no pass follows the search."""

    def __init__(self):
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(6, 16), nn.Linear(16, 16), nn.Linear(16, 5)

    def forward(self, x):
        self.seen = {"features": [torch.relu(self.middle(torch.relu(self.first(x))))]}
        return self.last(self.seen["features"][0])


@pytest.mark.parametrize("granularity", ["network", "block"])
def test_a_network_that_keeps_a_tensor_of_its_pass_is_searched(granularity):
    network, x = Keeps(), torch.randn(60, 6)
    network(x).sum().backward()
    kept = network.seen["features"][0]
    result = by_blocks(network, x, granularity=granularity)
    assert result.bits == {"first": 8, "middle": 2, "last": 8}
    assert network.seen["features"][0] is kept and kept.grad_fn is not None
    with torch.no_grad():
        assert torch.equal(result.model(x), result.model(x))


@pytest.mark.parametrize("granularity", ["network", "block"])
def test_ctrl_c_in_the_last_step_interrupts_nothing(granularity):
    last = {"network": 3, "block": 3}[granularity]

    def progress(state):
        if state.step == last:
            _thread.interrupt_main()

    result = by_blocks(Keeps(), torch.randn(60, 6), granularity=granularity, progress=progress)
    assert not result.interrupted and "interrupted" not in result.report()


def test_steps_before_a_failure_are_kept(tmp_path):
    def progress(state):
        if state.step == 3:
            raise KeyboardInterrupt

    x, seen = torch.randn(60, 6), []
    torch.manual_seed(0)
    network = Keeps()
    expected = codes(by_blocks(network, x, steps=6, granularity="network"))
    settings = {"steps": 6, "granularity": "network", "checkpoint": tmp_path / "search.pt"}
    with pytest.raises(KeyboardInterrupt):
        by_blocks(network, x, progress=progress, **settings)
    result = by_blocks(network, x, progress=lambda state: seen.append(state.step), **settings)
    assert seen == [4, 5, 6] and all(map(torch.equal, codes(result), expected))


@pytest.mark.parametrize("bits", [1, 2])
def test_a_search_by_blocks_comes_far_nearer_than_nearest_values(model, bits):
    images = images_of(600)
    found = by_blocks(model, images, bits=bits, steps=60, num_samples=500)
    nearest = by_blocks(model, images, bits=bits, steps=1, num_samples=500)
    with torch.no_grad():
        wanted = model(images.clone())
        far, near = (float((each.model(images.clone()) - wanted).square().mean()) for each in (nearest, found))
    assert near < 0.5 * far, (near, far)
    assert found.rows[1].agreement.unit == "%"
    assert found.bits == {"stem": 8, "head": 8} | {f"blocks.{k}.conv{n}": bits for k in range(4) for n in (1, 2)}


def test_what_a_block_gives_is_what_the_next_one_is_kept_with(model, monkeypatch):
    """Both come from passes that end in the middle of the network, between steps that change the weights."""
    given, kept = {}, {}
    calibrate, add = block_search.calibrate_to_target, BlockInputs.add

    def calibrated(searched, target, run, inputs):
        inputs = list(inputs)
        calibrate(searched, target, run, inputs)
        first = copy.deepcopy(inputs[0].searched)
        with torch.no_grad():
            given[len(given)] = searched(*first[0][0], **first[0][1])

    def added(self, batch):
        add(self, batch)
        kept.setdefault(self.block.path, self[0].searched[0][0][0])

    monkeypatch.setattr(block_search, "calibrate_to_target", calibrated)
    monkeypatch.setattr(BlockInputs, "add", added)
    by_blocks(model, images_of(120), bits=2, steps=20)
    for block in (0, 1):
        torch.testing.assert_close(kept[f"blocks.{block + 1}"], given[block], atol=1e-5, rtol=1e-5)


def test_its_file_is_the_network(model, tmp_path):
    found = by_blocks(model, images_of(120), bits=2, activations=8)
    report = nncf_slb.verify_openvino(found.model, found.export(tmp_path / "model.xml"), images_of(16))
    assert report.passed, report.to_str()


def test_a_block_is_kept_with_what_each_network_calls_it_with(model):
    other = copy.deepcopy(model)
    nn.init.ones_(other.blocks[0].conv1.weight)
    seen = {}
    for network in (model, other):
        before = network.blocks[1].register_forward_pre_hook(
            lambda _, args, network=network: seen.setdefault(network, []).append(args[0].clone())
        )
        with torch.no_grad():
            network(images_of(5))
        before.remove()
    inputs = BlockInputs(model, other, Block("blocks.1", 2, 0), lambda network, batch: network(batch))
    inputs.add(images_of(5))
    for network, calls in ((model, inputs[0].target), (other, inputs[0].searched)):
        assert [kwargs for _, kwargs in calls] == [{"scaled": 0.5}] * 2
        assert all(torch.equal(args[0], x) for (args, _), x in zip(calls, seen[network], strict=True))
    assert not torch.equal(seen[model][0], seen[other][0])
    inputs.close()


def test_several_inputs_and_outputs_and_a_shared_weight():
    torch.manual_seed(0)
    found = by_blocks(TwoInputs().eval(), TwoInputs.batches(4, 40), inputs=TwoInputs.inputs)
    assert found.bits == {"left": 8, "right": 8, "middle": 2, "again": 2, "one": 8, "two": 8}


def test_an_interrupted_search_goes_on_in_its_block_with_the_same_bits(model, tmp_path):
    whole = by_blocks(model, images_of(200), steps=4)
    seen = []

    def interrupt(progress):
        seen.append(progress.step)
        if progress.step == 6:
            _thread.interrupt_main()

    part = by_blocks(model, images_of(200), steps=4, checkpoint=tmp_path / "search.pt", progress=interrupt)
    assert part.interrupted and seen == [1, 2, 3, 4, 5, 6]
    steps = []
    rest = by_blocks(
        model, images_of(200), steps=4, checkpoint=tmp_path / "search.pt",
        progress=lambda p: steps.append((p.step, p.steps)),
    )  # fmt: skip
    assert steps == [(step, 16) for step in range(7, 17)] and not rest.interrupted
    assert all(torch.equal(a, b) for a, b in zip(codes(whole), codes(rest), strict=True))


def test_a_report_counts_the_steps_of_all_blocks_also_of_a_search_that_goes_on(model, tmp_path):
    def interrupt(progress):
        if progress.step == 6:
            _thread.interrupt_main()

    kept = {"steps": 4, "checkpoint": tmp_path / "search.pt", "log_dir": tmp_path / "log"}
    by_blocks(model, images_of(120), progress=interrupt, **kept)
    by_blocks(model, images_of(120), **kept)
    run = read_run(tmp_path / "log", latency=False)
    assert run.length == 16 and run.ended
    assert [moment.count for moment in run.moments] == list(range(1, 17))


def test_temporary_files_go_and_a_full_disk_is_one_error(model, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    by_blocks(model, images_of(120))
    assert not list(tmp_path.iterdir())

    def full(*_):
        raise RuntimeError("PytorchStreamWriter failed writing file: No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(SettingError, match=r"granularity: .* block blocks\.0 do not fit .*TMPDIR"):
        by_blocks(model, images_of(120))
    assert not list(tmp_path.iterdir())


def test_a_granularity_that_is_none_is_one_error(model):
    with pytest.raises(SettingError, match="granularity: received 'layer'; allowed: 'network', 'block'"):
        by_blocks(model, images_of(120), granularity="layer")
