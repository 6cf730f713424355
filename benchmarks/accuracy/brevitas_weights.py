"""Brevitas 0.13 weight quantizers with a learned scale per output channel; needs the rivals' own environment.

Binary and ternary scales begin at ``mean(|w|)``, those of 2 and 4 bits where the squared error is smallest, as
Brevitas' own ``...PerChannelFloatMSE`` has it.
"""

from __future__ import annotations

from brevitas.core.bit_width import BitWidthImplType
from brevitas.core.quant import QuantType
from brevitas.core.restrict_val import FloatToIntImplType, RestrictValueType
from brevitas.core.scaling import ScalingImplType
from brevitas.core.zero_point import ZeroZeroPoint
from brevitas.inject.enum import ScalingPerOutputType, StatsOp
from brevitas.nn import QuantConv2d
from brevitas.quant.scaled_int import Int8WeightPerChannelFloatMSE
from brevitas.quant.solver import WeightQuantSolver
from torch import nn


class BinaryWeight(WeightQuantSolver):
    """Two values."""

    quant_type = QuantType.BINARY
    bit_width_impl_type = BitWidthImplType.CONST
    bit_width = 1
    narrow_range = True
    signed = True
    scaling_impl_type = ScalingImplType.PARAMETER_FROM_STATS
    scaling_stats_op = StatsOp.AVE
    scaling_per_output_type = ScalingPerOutputType.CHANNEL
    scaling_min_val = 1e-8
    restrict_scaling_type = RestrictValueType.FP
    zero_point_impl = ZeroZeroPoint
    float_to_int_impl_type = FloatToIntImplType.ROUND


class TernaryWeight(BinaryWeight):
    """Zero and two values; zero where a weight is below half the scale."""

    quant_type = QuantType.TERNARY
    bit_width = 2
    threshold = 0.5


class TwoBitWeight(Int8WeightPerChannelFloatMSE):
    """Four evenly spaced values."""

    bit_width = 2
    narrow_range = False
    scaling_impl_type = ScalingImplType.PARAMETER_FROM_STATS


class FourBitWeight(TwoBitWeight):
    """Sixteen evenly spaced values."""

    bit_width = 4


QUANTIZERS = {"binary": BinaryWeight, "ternary": TernaryWeight, "2 bits": TwoBitWeight, "4 bits": FourBitWeight}


def quantized(layer: nn.Conv2d, kind: str) -> nn.Module:
    """Brevitas' layer with the weights of `layer` (no bias, zero padding)."""
    made = QuantConv2d(
        layer.in_channels, layer.out_channels, layer.kernel_size, stride=layer.stride, padding=layer.padding,
        bias=False, weight_quant=QUANTIZERS[kind],
    )  # fmt: skip
    made.load_state_dict(layer.state_dict(), strict=False)
    return made.to(layer.weight.device)
