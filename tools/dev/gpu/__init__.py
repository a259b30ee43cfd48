"""Stages of the GPU check: see README.md here and tools/dev/gpu_check.py."""
