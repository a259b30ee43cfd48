"""The algorithm inside another toolbox, which knows only the outermost type's scope."""

import torch
from mmengine.registry import MODELS, DefaultScope, init_default_scope


def test_only_the_outermost_type_needs_our_scope():
    before = DefaultScope.get_current_instance()
    init_default_scope('mmseg')
    try:
        model = MODELS.build(
            dict(
                type='mae_plugin.MAE',
                data_preprocessor=dict(type='MAEDataPreprocessor'),
                backbone=dict(
                    type='ViT',
                    arch=dict(embed_dims=16, num_layers=1, num_heads=2),
                    img_size=32,
                ),
                decoder=dict(
                    type='MAEDecoder', in_dims=16, embed_dims=8, depth=1, num_heads=2, img_size=32
                ),
                head=dict(type='ReconstructionHead', in_dims=8),
            )
        )
    finally:
        init_default_scope(before.scope_name if before else 'mmengine')
    data = dict(inputs=torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
    loss = model(**model.data_preprocessor(data), mode='loss')['loss']
    assert loss.isfinite()
