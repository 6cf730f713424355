"""Side by side measurement: what it reports of which file. How fast anything is stands in `benchmarks/`."""

import pytest

import nncf_slb
from nncf_slb.cli import main
from nncf_slb.openvino.benchmark import Spread
from tests.openvino.exported import exported_small
from tests.openvino.test_files import foreign


def test_files_are_reported_in_the_order_given_with_medians_within_their_spread(tmp_path):
    _, ours = exported_small(tmp_path)
    other = tmp_path / "other.xml"
    foreign(other)
    result = nncf_slb.benchmark_openvino([other, ours], rounds=5, threads=1)
    assert [timing.path for timing in result.timings] == [str(other), str(ours)]
    assert (result.batch, result.threads) == (1, 1)
    for timing in result.timings:
        for spread in (timing.latency, timing.throughput, timing.latency_ratio, timing.throughput_ratio):
            assert 0 < spread.low <= spread.median <= spread.high
    assert result.timings[0].latency_ratio == result.timings[0].throughput_ratio == Spread(1, 1, 1)
    assert result.timings[1].bin_bytes == ours.with_suffix(".bin").stat().st_size
    lines = result.to_str().splitlines()
    assert lines[3].startswith("other.xml") and " 1.00 " in lines[3] and lines[4].startswith("m.xml")


def test_free_sizes_are_those_of_the_shape_given(tmp_path, capsys):
    _, path = exported_small(tmp_path, input_shapes=[[-1, 1, -1, -1]])
    result = nncf_slb.benchmark_openvino([path], rounds=1, shape=[3, 1, 9, 10])
    assert result.batch == 3
    assert main(["inspect", str(path), "--shape", "1,1,9,10"]) == 0
    assert main(["inspect", str(path), "--shape", "1,1,0,x"]) == 2
    assert "--shape: received 1,1,0,x; write numbers above 0" in capsys.readouterr().err
    with pytest.raises(nncf_slb.SettingError, match=r"only its first dimension may be free here: give a shape"):
        nncf_slb.benchmark_openvino([path])
    with pytest.raises(nncf_slb.SettingError, match=r"does not take inputs of the shape \[1, 2, 9, 10\]"):
        nncf_slb.inspect_openvino(path, shape=[1, 2, 9, 10])


def test_a_fixed_batch_and_numbers_below_one_are_refused(tmp_path):
    _, path = exported_small(tmp_path, target_device="NPU")
    with pytest.raises(nncf_slb.SettingError, match=r"m\.xml: its batch size is fixed to 50, and batch is 1"):
        nncf_slb.benchmark_openvino([path])
    for name, value in (("rounds", 0), ("batch", -1)):
        with pytest.raises(nncf_slb.SettingError, match=f"{name}: received {value}; allowed is at least 1"):
            nncf_slb.benchmark_openvino([path], **{name: value})
    with pytest.raises(nncf_slb.SettingError, match="paths: received 0"):
        nncf_slb.benchmark_openvino([])
