"""What a search without labels costs and loses, beside rounding and other people's post-training methods."""
