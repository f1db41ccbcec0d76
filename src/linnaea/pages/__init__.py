"""The HTML report kit."""
