"""Running ensembles and recording them."""
