"""Parts of tools/dev/environments.py."""
