"""Contrastive training of CLIP models."""
