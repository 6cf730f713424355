"""Statistics of the search behind NNCF's `Statistics` interface."""

from __future__ import annotations

from nncf.api.statistics import Statistics

from nncf_slb.search.statistics import SearchStatistics


class SLBStatistics(SearchStatistics, Statistics):  # type: ignore[misc]
    """What ``ctrl.statistics().slb`` holds."""
