"""How a search gets into a user's network."""
