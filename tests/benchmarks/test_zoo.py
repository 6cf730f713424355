"""The zoo without its packages: what becomes of a network is a row, and rows become a page."""

from functools import partial

import pytest
from torch import nn

from benchmarks.zoo import __main__ as zoo
from benchmarks.zoo import networks, report, worker

IMAGE = (networks.Input((3, 8, 8)),)


def tiny(last):
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), last)


def entry(build):
    return networks.Network("tiny", networks.CNNS, "nowhere", build, IMAGE)


@pytest.fixture
def row():
    return worker.Row("tiny", 2, 32, "abc1234")


def test_a_network_is_searched_trained_exported_and_compared(row, tmp_path):
    made = worker.try_network(entry(partial(tiny, nn.Linear(288, 10))), row, tmp_path)
    assert (made.outcome, made.reason, made.stage) == (worker.EXPORTED, "", "verify")
    assert (made.searched, made.share) == (216 + 2880, 1.0)
    assert made.relative < 1e-3
    assert made.bin_bytes == (tmp_path / "tiny_W2A32.bin").stat().st_size


def test_a_refused_network_is_a_row_with_the_reason(row, tmp_path):
    made = worker.try_network(entry(nn.Sequential), row, tmp_path)
    assert (made.outcome, made.stage) == (worker.REFUSED, "create")
    assert "no layer" in made.reason
    assert not list(tmp_path.iterdir())


def test_an_error_of_the_network_itself_is_a_failure_and_no_refusal(row, tmp_path):
    made = worker.try_network(entry(partial(tiny, nn.Linear(7, 10))), row, tmp_path)
    assert made.outcome == worker.FAILED
    assert made.reason.startswith("RuntimeError: ")


def test_rows_are_kept_and_the_last_one_of_a_pair_counts(row, tmp_path):
    worker.append(row, tmp_path / worker.RESULTS)
    worker.append(worker.Row("tiny", 2, 8, "abc1234"), tmp_path / worker.RESULTS)
    worker.append(worker.Row("tiny", 2, 32, "abc1234", worker.EXPORTED), tmp_path / worker.RESULTS)
    assert [(each.pair, each.outcome) for each in zoo.read_rows(tmp_path)] == [
        ("W2A8", "failed"),
        ("W2A32", "exported"),
    ]


def test_the_plan_runs_two_bits_everywhere_and_every_other_pair_on_a_quarter():
    plan = zoo.default_plan([f"n{k}" for k in range(40)])
    counts = {pair: sum(entry[1:] == pair for entry in plan) for pair in {entry[1:] for entry in plan}}
    assert counts == {(b, a): 40 if b == 2 else 10 for b in (1, 2, 3, 4) for a in (8, 32)}
    assert len(set(plan)) == len(plan)


def test_the_page_shows_every_row_and_counts_a_network_by_its_worst(row):
    done = worker.Row("bert", 2, 8, "abc1234", worker.EXPORTED, "verify", searched=1000, share=0.5, relative=0.07,
                      agreement=0.9375, by_rounding=True, bin_bytes=4096, seconds=3.2, trained=False)  # fmt: skip
    row.outcome, row.reason = worker.REFUSED, "this | that; do so"
    wrong = worker.Row("tiny", 1, 8, "abc1234", worker.WRONG, "verify", "layer conv", relative=0.5)
    text = report.render([row, wrong, done])
    assert "| bert (transformers) | W2A8 | 1,000 (50%) | 7.0e-02, by rounding | 94% | 4,096 | 3 | untrained |" in text
    assert "**refused** in `build`: this \\| that; do so |" in text
    assert "2 networks in 3 runs" in text
    assert "| exported, but computed differently | 1 | 1 |" in text
    assert "| refused before training, with a remedy | 0 | 1 |" in text


def test_data_is_of_the_kind_that_an_input_takes():
    words = networks.Input((16,), "tokens", "input_ids", words=7)
    assert words.info() == {"sample_size": [2, 16], "type": "long", "filler": "ones", "keyword": "input_ids"}
    numbers = worker.torch.Generator().manual_seed(0)
    assert int(words.data(50, numbers).max()) == 6
    mask = networks.Input((16,), "mask").data(50, numbers)
    assert set(mask.unique().tolist()) == {0, 1}
    assert bool((mask[:, 1:] <= mask[:, :-1]).all())


@pytest.mark.parametrize(
    ("codes", "tried", "reasons"),
    [
        ([0], [True], []),
        ([-11, 0], [True, False], []),
        ([-11, -6], [True, False], ["crashed: SIGABRT"]),
        ([None], [True], ["ended after 5 s"]),
    ],
)
def test_a_crash_is_tried_again_without_training_and_then_a_row(codes, tried, reasons, row, tmp_path, monkeypatch):
    trained, left = [], list(codes)

    def process(_row, _folder, train, _limit):
        trained.append(train)
        return left.pop(0)

    monkeypatch.setattr(zoo, "_process", process)
    zoo.run(row, tmp_path, 5.0)
    assert trained == tried
    assert [(each.outcome, each.reason) for each in zoo.read_rows(tmp_path)] == [(worker.FAILED, r) for r in reasons]
