"""What users of NNCF 2.19 need besides its own functions."""

from __future__ import annotations

from nncf.api.compression import CompressionStage
from nncf.common.quantization.structs import QuantizationScheme

# Classes besides plain Python types in the compression state of slb and of NNCF's quantization (found by
# torch.serialization.get_unsafe_globals_in_checkpoint): pass them to torch.serialization.safe_globals to load a
# checkpoint with weights_only=True.
CHECKPOINT_TYPES = (CompressionStage, QuantizationScheme)
