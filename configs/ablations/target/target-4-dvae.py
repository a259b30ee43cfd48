"""Table 1d, tokens of DALL-E's dVAE, 112 px: 85.3 fine-tuned and 71.6 linear."""

_base_ = '../default.py'

ablation = dict(row='dVAE token', paper=dict(fine_tune=85.3, linear=71.6))

# mmpretrain's encoder with its weights, a download of 200 MB; any registered tokenizer fits.
tokenizer = 'https://download.openmmlab.com/mmselfsup/1.x/target_generator_ckpt/dalle_encoder.pth'
model = dict(
    head=dict(
        target=dict(
            _delete_=True,
            type='mae_plugin.TokenTarget',
            vocab_size=8192,
            tokenizer=dict(
                type='mmpretrain.DALL-E',
                init_cfg=dict(type='Pretrained', checkpoint=tokenizer),
            ),
        )
    )
)
