"""Detection of drawn shapes: a small detector, and its weights in 4, 2 and 1 bits by a search without labels."""
