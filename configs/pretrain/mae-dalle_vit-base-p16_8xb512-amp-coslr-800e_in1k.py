r"""MAE ViT-B/16 that predicts discrete tokens of DALL-E's dVAE instead of pixels, 800 epochs.

Paper: https://arxiv.org/abs/2111.06377 (table 1d, there with ViT-L; BEiT's target).
Needs: mmpretrain (`pip install -e '.[cls]'`), and its file of the tokenizer's weights, which is
       not fetched here: put it at data/dalle_encoder.pth, from
       https://download.openmmlab.com/mmselfsup/1.x/target_generator_ckpt/dalle_encoder.pth
Run:   tools/dist_train.sh \
           configs/pretrain/mae-dalle_vit-base-p16_8xb512-amp-coslr-800e_in1k.py 8 \
           --data-root DIR
Cost:  as configs/mae_vit-b_pretrain.py, and the tokenizer's forward pass at 112 px.
Score: with ViT-L 85.3 top-1 fine-tuned, 71.6 linear probe, where normalised pixels have 85.4 and
       73.9 (paper, table 1d).

Any registered module can be the tokenizer: one that has `get_codebook_indices(images)`, or whose
output has the token logits in dimension 1.
"""

_base_ = '../mae_vit-b_pretrain.py'

model = dict(
    head=dict(
        target=dict(
            _delete_=True,
            type='mae_plugin.TokenTarget',
            vocab_size=8192,
            downsample=8,
            tokenizer=dict(
                type='mmpretrain.DALL-E',
                init_cfg=dict(type='Pretrained', checkpoint='data/dalle_encoder.pth'),
            ),
        )
    )
)
