"""What a deployed low-bit network needs: the layers that it runs, and the functions that make them of a searched one.

Loads torch, and neither NNCF nor OpenVINO.
"""

from nncf_slb.search.runtime import (
    CodedWeight,
    Codes,
    FixedActivation,
    FixedWeight,
    code_parameter_,
    coded_weights,
    make_low_bit_,
)
from nncf_slb.search.strip import StripError, chosen_codes, fixed_activation

__all__ = [
    "CodedWeight", "Codes", "FixedActivation", "FixedWeight", "StripError", "chosen_codes", "code_parameter_",
    "coded_weights", "fixed_activation", "make_low_bit_",
]  # fmt: skip
