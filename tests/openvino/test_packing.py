"""Packed codes as OpenVINO itself reads them."""

import numpy as np
import openvino as ov
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openvino import opset13 as ops

from nncf_slb.openvino.graph import packed_constant
from nncf_slb.openvino.packing import pack
from nncf_slb.search.values import packed_size


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
@pytest.mark.parametrize("shape", [(1,), (7,), (8,), (5, 3, 3), (64, 17)])
def test_openvino_reads_back_the_codes_that_were_packed(bits, shape):
    codes = np.random.default_rng(0).integers(0, 2**bits, shape, dtype=np.uint8)
    parameter = ops.parameter([1], dtype=np.float32)
    read = ops.convert(packed_constant(codes, bits), "f32")
    model = ov.Model([ops.multiply(read, parameter)], [parameter])
    result = ov.compile_model(model, "CPU")([np.ones(1, np.float32)])[0]
    np.testing.assert_array_equal(result, codes)


@given(st.integers(1, 4), st.integers(0, 100))
def test_packed_size_is_that_of_the_packed_bytes(bits, count):
    assert pack(np.zeros(count, np.uint8), bits).size == packed_size(count, bits)


def test_bit_order_by_hand():
    assert pack(np.array([1, 0, 0, 0, 0, 0, 0, 1], np.uint8), 1).tolist() == [0b10000001]
    assert pack(np.array([1, 2, 3, 0], np.uint8), 2).tolist() == [0b00111001]
    assert pack(np.array([1, 15], np.uint8), 4).tolist() == [0b11110001]


def test_codes_and_bits_out_of_range_are_refused():
    with pytest.raises(ValueError, match="received 4; with 2 bits the largest is 3"):
        pack(np.array([4], np.uint8), 2)
    with pytest.raises(ValueError, match="bits: received 5; allowed are 1 to 4"):
        pack(np.array([1], np.uint8), 5)
