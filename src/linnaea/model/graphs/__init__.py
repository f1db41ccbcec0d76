"""Transformers and EfficientNet as ONNX graphs."""
