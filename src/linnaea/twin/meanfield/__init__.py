"""The food web as differential equations."""
