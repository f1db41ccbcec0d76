"""Published models on the twin's engine, for validation and for comparisons of speed."""
