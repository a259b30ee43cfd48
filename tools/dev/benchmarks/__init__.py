"""The measurements of ``tools/dev/benchmark.py``, one module each."""
