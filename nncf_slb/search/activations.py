"""Quantizers of a layer's input: sign for 1 bit, learned step or learned clipping for 2 to 8 bits.

Sources: sign with a piecewise polynomial gradient, Bi-Real Net (Liu et al., 2018, equation 7); `pact`, PACT (Choi et
al., 2018, equation 1); `lsq`, Learned Step Size Quantization (Esser et al., 2020, equations 1-3).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nncf_slb.search.choices import ActivationMode, SignMode
from nncf_slb.search.processes import ranks_with, take_from_
from nncf_slb.search.products import sum_of_products

_SEEN_PER_BATCH = 2**14
_SEEN_AT_MOST = 2**17


def quantization_range(bits: int, signed: bool) -> tuple[int, int]:
    """Lowest and highest integer level of 2 to 8 bits: ``0 .. 2**bits - 1`` or ``-2**(bits-1) .. 2**(bits-1) - 1``."""
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)


class _Sign(torch.autograd.Function):
    """Sign with the gradient of a clipped identity or of a piecewise polynomial."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, polynomial: bool) -> Tensor:
        ctx.save_for_backward(x)
        ctx.polynomial = polynomial
        return (x > 0).to(x.dtype).mul_(2).sub_(1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        distance = x.abs()
        slope = distance.mul_(-2).add_(2).clamp_min_(0) if ctx.polynomial else distance <= 1
        return grad * slope, None


def sign(x: Tensor, mode: SignMode = "sign_polynomial") -> Tensor:
    """Sign of each element: 1 above zero, else -1 (zero included, as OpenVINO's FakeQuantize of 2 levels has it).

    Args:
        x: Float tensor of any shape.
        mode: ``sign_polynomial``: the gradient is ``2 - 2|x|`` between -1 and 1; ``sign_clipped``: it is 1 there.

    Returns:
        Tensor of the same shape and dtype.
    """
    return _Sign.apply(x, mode == "sign_polynomial")  # type: ignore[no-any-return, no-untyped-call]


def fake_quantize(x: Tensor, step: Tensor, lowest: int, highest: int) -> Tensor:
    """``round(x / step)`` clipped to ``lowest .. highest``, times `step`; float, shape of `x`; `step` is a scalar."""
    zero_point = torch.zeros((), dtype=torch.int32, device=x.device)
    return torch.fake_quantize_per_tensor_affine(x, step, zero_point, lowest, highest)


class _LearnedStep(torch.autograd.Function):
    """`fake_quantize` with LSQ's gradients (equation 3 and section 2.2 for their scale)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, lowest: int, highest: int) -> Tensor:
        quantized = _quantized_without_gradient(x, step, lowest, highest)
        ctx.save_for_backward(x, step, quantized)
        ctx.range = lowest, highest
        return quantized

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, step, quantized = ctx.saved_tensors
        lowest, highest = ctx.range
        inside = x.clamp(step * lowest, step * highest).eq_(x)
        grad_of_x = inside.mul_(grad)
        # Slope times step: the rounding error inside, the clipped value outside.
        slope = sum_of_products(grad, quantized) - sum_of_products(grad_of_x, x)
        features = x.numel() // max(1, x.shape[0])
        scale = (max(1, features) * max(1, highest)) ** -0.5 / step
        return grad_of_x, slope * scale, None, None


def _quantized_without_gradient(x: Tensor, step: Tensor, lowest: int, highest: int) -> Tensor:
    """What `fake_quantize` gives, to the same bits.

    On CPUs PyTorch's operator takes one element after the other; four vectorized ones take a fifth of its time.
    """
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return fake_quantize(x, step, lowest, highest)
    return x.mul(step.reciprocal()).round_().clamp_(lowest, highest).mul_(step)


def fit_step(x: Tensor, lowest: int, highest: int, candidates: int = 80) -> Tensor:
    """Step with the smallest squared error of `fake_quantize` on a sample.

    Args:
        x: Float sample of any shape.
        lowest: Lowest level, 0 or negative.
        highest: Highest level, above 0.
        candidates: Number of steps tried, evenly spaced up to the one that clips nothing.

    Returns:
        Positive scalar of the sample's dtype.
    """
    needed = [x.max() / highest] + ([x.min() / lowest] if lowest else [])
    largest = torch.stack(needed).max().clamp_min(1e-6)
    steps = largest * torch.linspace(1 / candidates, 1, candidates, device=x.device)
    errors = torch.stack([(_quantized_without_gradient(x, step, lowest, highest) - x).square().sum() for step in steps])
    return steps[errors.argmin()].to(x.dtype)


class ActivationQuantizer(nn.Module):
    """Quantizes the input of one or more layers.

    Parameters: ``log_step`` (`lsq`: natural logarithm of the step, so that a learning rate means a relative change;
    LSQ itself learns the step) or ``clip`` (`pact`), both float scalars; none for a sign. Step and clip begin where
    the squared error is smallest on the data seen between `observe` and `finish`, or else on the first batch that
    trains. Until then inputs pass unchanged.

    Args:
        bits: 1, 2, 4 or 8.
        mode: ``sign_clipped`` or ``sign_polynomial`` for 1 bit, else ``lsq`` or ``pact``.
        signed: Whether negative inputs have levels; None decides when data is seen.
    """

    is_signed: Tensor
    is_initialized: Tensor

    def __init__(self, bits: int, mode: ActivationMode, signed: bool | None = None) -> None:
        super().__init__()
        self.bits = bits
        self.mode = mode
        self.signed = signed
        self.initialized = bits == 1
        self._seen: list[Tensor] | None = None
        if mode == "lsq":
            self.log_step = nn.Parameter(torch.zeros(()))
        elif mode == "pact":
            self.clip = nn.Parameter(torch.ones(()))
        if bits > 1:
            # Flags are floats, since averages of networks take buffers along.
            self.register_buffer("is_signed", torch.tensor(float(bool(signed))))
            self.register_buffer("is_initialized", torch.tensor(0.0))

    def forward(self, x: Tensor) -> Tensor:
        """Quantized input, shape and dtype of `x`."""
        if self.bits == 1:
            return sign(x, "sign_clipped" if self.mode == "sign_clipped" else "sign_polynomial")
        if self._seen is not None:
            self._see(x)
            return x
        if not self.initialized:
            if not (self.training and torch.is_grad_enabled()):
                return x
            self.observe()
            self._see(x)
            self.finish()
        lowest, highest = self.levels
        if self.mode == "lsq":
            return _LearnedStep.apply(x, self.step(), lowest, highest)  # type: ignore[no-any-return, no-untyped-call]
        step = self.step()
        clipped = torch.maximum(torch.minimum(x, step * highest), step * lowest)
        return fake_quantize(clipped, step.detach(), lowest, highest)

    @property
    def levels(self) -> tuple[int, int]:
        """Lowest and highest integer level (2 to 8 bits)."""
        return quantization_range(self.bits, bool(self.signed))

    def step(self) -> Tensor:
        """Distance of two levels, positive scalar (2 to 8 bits)."""
        return self.log_step.exp() if self.mode == "lsq" else self.clip.clamp_min(1e-6) / self.levels[1]

    def observe(self) -> None:
        """Let inputs pass unchanged from now on and remember a sample of them, unless there is nothing to learn."""
        if not self.initialized:
            self._seen = []

    @torch.no_grad()
    def finish(self) -> None:
        """Set signedness and step from what was seen; nothing seen leaves the quantizer as it was.

        Of the processes that train together (`torch.distributed`), all take what the first one with data found.
        """
        if self._seen is None:
            return
        seen, self._seen = self._seen, None
        ranks = ranks_with(bool(seen), self.is_signed.device)
        if not ranks:
            return
        sample = torch.cat(seen) if seen else torch.zeros(1, device=self.is_signed.device)
        sample = sample[:: max(1, sample.numel() // _SEEN_AT_MOST)]
        if self.signed is None:
            self.is_signed.fill_(bool((sample < 0).any()))
        take_from_(self.is_signed, ranks[0])
        self.signed = bool(self.is_signed)
        lowest, highest = self.levels
        step = fit_step(sample, lowest, highest)
        take_from_(step, ranks[0])
        if self.mode == "lsq":
            self.log_step.copy_(step.log())
        else:
            self.clip.copy_(step * highest)
        self.is_initialized.fill_(True)
        self.initialized = True

    @torch.no_grad()
    def widen(self, x: Tensor) -> None:
        """Enlarge the step until no element of `x` is clipped, but for negative ones where these have no levels."""
        lowest, highest = self.levels
        needed = x.max() / highest
        if lowest:
            needed = torch.maximum(needed, x.min() / lowest)
        step = torch.maximum(self.step(), needed)
        if self.mode == "lsq":
            self.log_step.copy_(step.log())
        else:
            self.clip.copy_(step * highest)

    def _see(self, x: Tensor) -> None:
        assert self._seen is not None
        flat = x.detach().flatten()
        stride = max(1, flat.numel() // _SEEN_PER_BATCH) | 1  # odd: no even stride that meets one channel only
        self._seen.append(flat[::stride].clone())

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        if self.bits > 1:  # read once here: a look at a GPU's buffer in each forward would wait for the GPU
            self.initialized = bool(self.is_initialized)
            if self.initialized:
                self.signed = bool(self.is_signed)

    def extra_repr(self) -> str:
        """Bits and mode."""
        return f"bits={self.bits}, mode={self.mode}, signed={self.signed}"
