"""How many bits for which layer: sensitivity, and allocation within a budget."""
