"""The host NNCF 2.19: builder, controller and what they need of its network."""

from nncf_slb.hosts.installed import require_nncf

require_nncf()
