"""The image network of the bundled model, EfficientNet-Lite0.

- `published`: the published weights, and the trunk in a runtime
- `features`: features of photographs, computed once in several views
- `network`: the trunk in torch, to be fine-tuned
- `config`, `crops`, `targets`, `finetuning`: one round of fine-tuning; `rounds`: all rounds of a recipe
"""
