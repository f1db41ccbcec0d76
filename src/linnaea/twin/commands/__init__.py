"""The commands `linnaea twin …`: one module for each, with its Config and its `main`."""
