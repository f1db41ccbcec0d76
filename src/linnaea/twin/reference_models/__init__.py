"""Published models on the same engine, for validation and speed."""
