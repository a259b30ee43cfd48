"""Checkpoints of any layout: recognised from their keys, translated once, reported, exported."""

from .export import LAYOUTS, export_checkpoint, write_export
from .load import load_pretrained, read_checkpoint
from .report import LoadReport

__all__ = [
    'LAYOUTS',
    'LoadReport',
    'export_checkpoint',
    'load_pretrained',
    'read_checkpoint',
    'write_export',
]
