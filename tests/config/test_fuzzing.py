"""Whole configs, drawn and changed at random: each is built or refused with one line for each problem.

``FUZZED_CONFIGS=20000`` draws more than the 2,000 of the suite.
"""

import contextlib
import io
import os
import tempfile
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import nncf_slb
from nncf_slb.cli import main
from nncf_slb.errors import SLBError
from nncf_slb.hosts.config_check import config_problems
from samples.classification.config import TASK as CLASSIFICATION
from samples.super_resolution.config import TASK as SUPER_RESOLUTION
from samples.training.command_line import make_parser, make_settings
from samples.training.settings import Settings, SettingsError
from tests.config.fuzzing import changed, texts, whole_configs
from tests.networks import Small

EXAMPLES = int(os.environ.get("FUZZED_CONFIGS", "2000"))
TASKS = {"classification": CLASSIFICATION, "super-resolution": SUPER_RESOLUTION}
RECIPES = {
    "classification": ["digits_net_digits_w2a8", "small_resnet_fashion_mnist_w2a8", "resnet20_cifar10_w1a1"],
    "super-resolution": ["espcn_w2a8", "vdsr_w2a8"],
}


def fuzzed(share):
    return settings(
        max_examples=max(1, round(EXAMPLES * share)), derandomize=True, deadline=None, database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip


def assert_lines(lines):
    """Each line names a setting, and is one."""
    assert lines
    for line in lines:
        setting, mark, _ = line.partition(": ")
        assert mark and setting.isprintable() and len(line.splitlines()) == 1 and len(line) < 1500


@fuzzed(0.4)
@given(changed(whole_configs()))
def test_a_check_lists_problems_or_none(config):
    lines = config_problems(config)
    assert lines == [] or assert_lines(lines) is None


@pytest.mark.parametrize("name", TASKS)
@fuzzed(0.1)
@given(data=st.data())
def test_a_samples_config_gives_settings_or_lines(name, data):
    task = TASKS[name]
    config = st.sampled_from(RECIPES[name]).map(lambda recipe: task.recipes[recipe])
    text = data.draw(texts(config))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.json"
        path.write_bytes(text)
        arguments = make_parser(task).parse_args(
            ["--config", str(path), "--log-dir", str(Path(folder) / "run"), "--device", "cpu"]
        )
        try:
            assert isinstance(make_settings(arguments, task), Settings)
        except SettingsError as error:
            first, *lines = str(error).splitlines()
            if first.startswith("config: "):
                assert not lines
            else:
                assert_lines([line.removeprefix("  ") for line in lines])


@fuzzed(0.2)
@given(texts(whole_configs()))
def test_the_command_names_the_file(text):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.json"
        path.write_bytes(text)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(["check", str(path)])
        shown = (err if status == 2 else out).getvalue().splitlines()
        assert str(path) in shown[0] and "Traceback" not in err.getvalue()
        problems = [line.removeprefix("- ") for line in shown[1:]]
        assert status != 1 or problems
        of_settings = [line for line in problems if path.name not in line]  # a file that is no JSON has none
        assert status == 0 or not of_settings or assert_lines(of_settings) is None


def built(config, host):
    torch.manual_seed(0)
    samples = torch.utils.data.TensorDataset(torch.randn(16, 1, 8, 8), torch.arange(16) % 10)
    loader = torch.utils.data.DataLoader(samples, batch_size=8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ctrl, model = nncf_slb.create_compressed_model(Small(), config, loader, host=host)
    model(torch.randn(8, 1, 8, 8)).sum().backward()
    ctrl.scheduler.epoch_step()
    return ctrl, model


@pytest.mark.parametrize(("host", "share"), [("torch", 0.15), ("nncf2", 0.05)])
def test_a_network_is_built_or_refused(host, share):
    @fuzzed(share)
    @given(changed(whole_configs(), most=1))
    def build(config):
        try:
            built(config, host)
        except SLBError as error:
            assert str(error)

    build()
