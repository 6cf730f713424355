"""Sums over tensors of any memory format against plain arithmetic."""

import pytest
import torch

from nncf_slb.search.products import squared_distance, sum_of_products

FORMS = {
    "no dimension": lambda x: x[0, 0, 0, 0],
    "vector": lambda x: x[0, 0, 0],
    "contiguous": lambda x: x,
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(1, 3),
    "part": lambda x: x[:, 1:, ::2],
    "expanded": lambda x: x[:1].expand(3, -1, -1, -1),
    "empty": lambda x: x[:0],
}


def two():
    numbers = torch.Generator().manual_seed(0)
    return (torch.randn(2, 3, 4, 5, generator=numbers).double() for _ in range(2))


@pytest.mark.parametrize("ours", FORMS)
@pytest.mark.parametrize("layout", ["as the first", "contiguous"])
def test_sums_and_gradients_are_those_of_plain_arithmetic(ours, layout):
    a, b = (FORMS[ours](x) for x in two())
    if layout == "contiguous":
        b = b.contiguous()
    torch.testing.assert_close(sum_of_products(a, b), (a * b).sum())
    a = a.detach().requires_grad_()
    received = squared_distance(a, b)
    torch.testing.assert_close(received, (a - b).square().sum())
    (3 * received).backward()
    torch.testing.assert_close(a.grad, 6 * (a - b).detach())
    torch.testing.assert_close(torch.autograd.gradcheck(lambda x: squared_distance(x, b), a.contiguous()), True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_sums_in_float32(dtype):
    a = torch.full((100, 100), 3.0, dtype=dtype, requires_grad=True)
    distance = squared_distance(a, torch.zeros_like(a))
    assert distance.dtype == torch.float32 and distance == 90000
    distance.backward()
    assert a.grad.dtype == dtype and bool((a.grad == 6).all())
