"""Training of the bundled model, from photographs, a published trunk and quantised classifiers.

- `recipe`, `config`: what a recipe says, and its fields
- `pipeline`: from a recipe to a model folder; `assembly`: features, labels and samplers; `export`: the ONNX graphs
- `trunk`: the image network: its features, and its fine-tuning
- `encoders`: the training of projector and text transformer
- `labels`, `batches`, `vocabulary_sampling`, `class_features`, `tflite_teacher`: what they are trained on
"""
