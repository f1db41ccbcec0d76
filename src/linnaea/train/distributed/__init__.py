"""Training on several processes.

- `process_group`: how the processes find each other, how the model is placed on them, what they exchange
- `collectives`: gather and scatter of tensors, with and without gradients
- `tiled_similarities`: losses over all pairs of images and texts in linear memory
"""
