"""What ONNX Runtime runs, and how fast."""
