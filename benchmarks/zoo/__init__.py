"""Real architectures with random weights: which of them are searched, exported and computed as PyTorch does."""
