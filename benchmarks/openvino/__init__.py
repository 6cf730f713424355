"""Kernels, sizes and speed of exported networks in OpenVINO."""
