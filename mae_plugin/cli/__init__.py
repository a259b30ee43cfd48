"""Command lines and the preparation of a run."""
