"""Pixels from bytes: JPEG, PNG, TIFF, arrays and what else holds an image."""
