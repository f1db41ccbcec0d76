"""Training data on disk: samples, shards, manifests, rejects."""
