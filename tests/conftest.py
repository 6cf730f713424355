"""Settings of all tests."""

import hypothesis

# A deadline would be a test of the machine's speed, and fail where it is busy.
hypothesis.settings.register_profile("nncf_slb", deadline=None)
hypothesis.settings.load_profile("nncf_slb")
