"""The algorithm and the trunk inside other toolboxes, through their own interfaces."""

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope, init_default_scope
from mmpretrain import FeatureExtractor
from tiny_mae import tiny_mae


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


def test_mmpretrains_feature_extractor_gives_the_encoders_tokens():
    model = tiny_mae().eval()
    pipeline = [dict(type='CenterCrop', crop_size=16), dict(type='PackInputs')]
    model._config = Config(dict(test_dataloader=dict(dataset=dict(pipeline=pipeline))))
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    (features,) = FeatureExtractor(model)(image)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    expected = model.backbone(model.data_preprocessor(dict(inputs=pixels))['inputs'])
    torch.testing.assert_close(features, expected[0])


def test_layer_depths_of_a_mae_are_those_of_its_encoder():
    model = tiny_mae(depth=2)
    depths = {name: model.get_layer_depth(name) for name, _ in model.named_parameters()}
    for name, depth in depths.items():
        own = name.removeprefix('backbone.')
        assert depth == (model.backbone.get_layer_depth(own) if own != name else (3, 4)), name
    assert depths['backbone.pos_embed'] == (0, 4) and depths['decoder.pos_embed'] == (3, 4)
    assert model.get_layer_depth('model.backbone.blocks.1.norm1.bias', 'model.') == (2, 4)
