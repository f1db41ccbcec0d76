"""What every training run needs.

- `recipe_protocol`, `recipe_files`: what a recipe can do, and how it is found by name
- `overrides`, `range_checks`: fields of a recipe from the command line, and their limits
- `schedule`: the learning rate of a step
- `metrics_log`, `tensorboard`: losses and validations in CSV and TensorBoard files
- `graceful_stop`: the answer to SIGTERM and Ctrl-C
"""
