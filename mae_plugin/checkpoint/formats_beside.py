"""Names of what stands beside encoders, as literal tables: decoders, heads, pyramids.

Read as those of :mod:`.formats`.
"""

from .formats import HF5_BLOCK, HF_BLOCK, MMPRETRAIN_BLOCK, OFFICIAL_BLOCK, blocks

# Decoders: their key -> key of our MAE.
OFFICIAL_DECODER = {
    'decoder_embed': 'decoder.embed',
    'mask_token': 'decoder.mask_token',
    'decoder_pos_embed': 'decoder.pos_embed',
    'decoder_norm': 'decoder.norm',
    'decoder_pred': 'head.pred',
} | blocks('decoder_blocks.{}', 'decoder.blocks.{}', OFFICIAL_BLOCK)
MMPRETRAIN_DECODER = {
    'neck.decoder_embed': 'decoder.embed',
    'neck.mask_token': 'decoder.mask_token',
    'neck.decoder_pos_embed': 'decoder.pos_embed',
    'neck.ln1': 'decoder.norm',
    'neck.decoder_pred': 'head.pred',
} | blocks('neck.decoder_blocks.{}', 'decoder.blocks.{}', MMPRETRAIN_BLOCK)
HF_DECODER = {
    'decoder.decoder_embed': 'decoder.embed',
    'decoder.mask_token': 'decoder.mask_token',
    'decoder.decoder_pos_embed': 'decoder.pos_embed',
    'decoder.decoder_norm': 'decoder.norm',
    'decoder.decoder_pred': 'head.pred',
} | blocks('decoder.decoder_layers.{}', 'decoder.blocks.{}', HF_BLOCK)


def _batch_norm(theirs: str) -> dict[str, str]:
    """A linear probe's BatchNorm, which has no weights."""
    names = ('running_mean', 'running_var', 'num_batches_tracked')
    return {f'{theirs}.{name}': f'neck.fc_norm.{name}' for name in names}


# What may stand beside an encoder: a decoder, or what our classifiers have behind it. The last
# are those of fine-tuning, and of linear probes with a BatchNorm.
OFFICIAL_HEAD = {'fc_norm': 'neck.fc_norm', 'head': 'head.fc'}
OFFICIAL_PROBE = _batch_norm('head.0') | {'head.1': 'head.fc'}
MMPRETRAIN_HEAD = {'head.layers.head': 'head.fc'}
MMPRETRAIN_PROBE = _batch_norm('neck.bn') | MMPRETRAIN_HEAD
OFFICIAL_BESIDE = OFFICIAL_DECODER | OFFICIAL_HEAD | OFFICIAL_PROBE
MMPRETRAIN_BESIDE = MMPRETRAIN_DECODER | MMPRETRAIN_PROBE
HF_BESIDE = (
    HF_DECODER
    | blocks('decoder.decoder_layers.{}', 'decoder.blocks.{}', HF5_BLOCK)
    | {'classifier': 'head.fc'}
)


# detectron2's SimpleFeaturePyramid numbers all layers of a level in a row; its 1x1 and its 3x3
# convolution hold their norms.
_PYRAMID_CONVS = {'simfp_2': (4, 5), 'simfp_3': (1, 2), 'simfp_4': (0, 1), 'simfp_5': (1, 2)}
DETECTRON2_NECK = {
    'simfp_2.0': 'neck.levels.0.0.0',
    'simfp_2.1': 'neck.levels.0.0.1',
    'simfp_2.3': 'neck.levels.0.0.3',
    'simfp_3.0': 'neck.levels.1.0',
} | {
    theirs: f'neck.levels.{level}.{ours}'
    for level, (name, (first, second)) in enumerate(_PYRAMID_CONVS.items())
    for theirs, ours in (
        (f'{name}.{first}', 1),
        (f'{name}.{first}.norm', 2),
        (f'{name}.{second}', 3),
        (f'{name}.{second}.norm', 4),
    )
}
