"""Classification with searched low-bit weights: NNCF's sample interface."""
