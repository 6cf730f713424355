"""Photographs: files, colour, tiles, upscaling by an exported network."""
