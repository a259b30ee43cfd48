"""Parts of tools/ablate.py."""
