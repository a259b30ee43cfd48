"""See mae_plugin.registry: importing this package registers its parts."""

from mae_plugin.models.dense.feature_pyramid import BlockGroupPyramid, SimpleFeaturePyramid
from mae_plugin.models.dense.layer_norm import LayerNorm2d
from mae_plugin.models.dense.map_norm import MapNorm
from mae_plugin.models.dense.vit_backbone import ViTBackbone
from mae_plugin.models.preprocessor import MAEDataPreprocessor

from .cell_masking import CellMasking
from .cross_decoder import CrossAttentionDecoder
from .decoder import MAEDecoder
from .green_noise_masking import GreenNoiseMasking
from .lora import LoRA
from .mae import MAE
from .masking import BlockMasking, GridMasking, RandomMasking
from .positions import LearnedPositions, RotaryPositions, SinCosPositions
from .reconstruction_head import ReconstructionHead
from .targets import PCATarget, PixelTarget, TokenTarget
from .teacher_target import TeacherTarget
from .token_pool import TokenPool
from .vit import ViT

__all__ = [
    'MAE',
    'BlockGroupPyramid',
    'BlockMasking',
    'CellMasking',
    'CrossAttentionDecoder',
    'GreenNoiseMasking',
    'GridMasking',
    'LayerNorm2d',
    'LearnedPositions',
    'LoRA',
    'MAEDataPreprocessor',
    'MAEDecoder',
    'MapNorm',
    'PCATarget',
    'PixelTarget',
    'RandomMasking',
    'ReconstructionHead',
    'RotaryPositions',
    'SimpleFeaturePyramid',
    'SinCosPositions',
    'TeacherTarget',
    'TokenPool',
    'TokenTarget',
    'ViT',
    'ViTBackbone',
]
