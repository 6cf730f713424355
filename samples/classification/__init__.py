"""Classification with searched low-bit weights: NNCF's sample interface."""

import nncf_slb  # noqa: F401  before any module here imports nncf.torch: it prepares NNCF's environment
