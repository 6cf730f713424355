"""What a person looks at: the data that runs write as they go, what looks wrong in it, and one HTML page of it."""
