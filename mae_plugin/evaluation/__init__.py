"""See mae_plugin.registry: importing this package registers its parts."""

from .imagenet_variants import ImageNetVariantAccuracy
from .reconstruction_loss import ReconstructionLoss

__all__ = ['ImageNetVariantAccuracy', 'ReconstructionLoss']
