"""Samples: training scripts that show the package at work."""
