"""Checkpoints of any layout: recognised from their keys, translated once, reported, exported."""

from .export import TARGETS, export_checkpoint, write_export
from .load import load_pretrained, read_checkpoint
from .report import LoadReport

__all__ = [
    'TARGETS',
    'LoadReport',
    'export_checkpoint',
    'load_pretrained',
    'read_checkpoint',
    'write_export',
]
