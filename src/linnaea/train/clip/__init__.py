"""Contrastive training of CLIP models, from scratch or from weights, on one GPU or many.

- `recipe`, `config`: what a recipe says, and its fields
- `pipeline`: from a recipe to a model folder
- `loop`, `objective`, `losses`, `gradient_caching`: the training step
- `training_model`, `towers`, `open_clip_io`: the model and its files
- `batches`: pairs for the model; `checkpoints`, `validation`, `naming_card`, `input_checks`: around the loop
- `planning`: what a recipe costs, before it runs
"""
