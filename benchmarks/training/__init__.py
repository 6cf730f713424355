"""What a search costs beside ordinary training: time of a step, memory, checkpoints, creation."""

import nncf_slb  # noqa: F401 (here, so that it stands before all imports of nncf.torch)
