"""Classes besides plain Python types in the compression state of slb and of NNCF's quantization.

Found by `torch.serialization.get_unsafe_globals_in_checkpoint`.
"""

from __future__ import annotations

from nncf.api.compression import CompressionStage
from nncf.common.quantization.structs import QuantizationScheme

CHECKPOINT_TYPES = (CompressionStage, QuantizationScheme)
