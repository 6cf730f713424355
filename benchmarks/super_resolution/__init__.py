"""Super-resolution with 1, 2 and 4 bits beside bicubic, float, 8 bits and other ways to train low-bit weights."""
