"""Names to vectors."""
