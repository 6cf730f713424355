"""What a search costs beside ordinary training: time of a step, memory, checkpoints, creation."""
