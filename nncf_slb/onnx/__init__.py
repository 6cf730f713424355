"""ONNX files with packed weights, in standard operators that ONNX Runtime folds when it loads them."""
