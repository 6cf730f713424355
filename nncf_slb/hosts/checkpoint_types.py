"""Classes that a compression state holds besides plain Python types: NNCF 2.19's own, and none with other hosts."""

from __future__ import annotations

from nncf_slb.hosts.installed import has_builders, load_nncf

# Pass them to torch.serialization.safe_globals to load a checkpoint with weights_only=True.
CHECKPOINT_TYPES: tuple[type, ...] = ()
if has_builders():
    load_nncf()
    from nncf_slb.hosts.nncf2 import checkpoint_types

    CHECKPOINT_TYPES = checkpoint_types.CHECKPOINT_TYPES
