"""The dense backbone, its attention, and the pyramids that follow it."""
