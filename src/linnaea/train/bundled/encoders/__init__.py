"""Training of the two encoders of the bundled model: an image projector above the trunk, and a text transformer.

- `network`: both in torch; `losses`: contrastive, and over the whole vocabulary
- `prototypes`, `loop`, `projector_tuning`: the three stages, in this order; `optimization`: what they share
"""
