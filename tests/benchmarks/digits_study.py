"""A study that takes seconds: one epoch of a small network on scikit-learn's digits."""

from benchmarks.accuracy.protocol import Protocol

DIGITS = Protocol("digits_net", "digits", epochs=1, seeds=(0, 1))
