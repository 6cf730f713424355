"""The clock of the search behind NNCF's `CompressionScheduler` interface."""

from __future__ import annotations

from nncf.api.compression import CompressionScheduler

from nncf_slb.hosts.scheduler import SearchScheduler


class SLBScheduler(SearchScheduler, CompressionScheduler):  # type: ignore[misc]
    """`SearchScheduler`, for NNCF to know it as one of its own."""
