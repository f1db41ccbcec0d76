"""A living world of real species that answers what-if."""
