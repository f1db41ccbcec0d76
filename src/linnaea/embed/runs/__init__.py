"""The journal and the progress of a long run."""
