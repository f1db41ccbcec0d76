"""The engines that run a model: onnxruntime, OpenVINO, torch."""
