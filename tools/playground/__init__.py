"""Parts of ``tools/make_playground.py``: sources, library, cut-outs, scenes, annotations."""
