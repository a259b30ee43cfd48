r"""MAE ViT-B/16, ImageNet-1k, 800 epochs, from tar shards: local, or fetched from a URL.

Pack the images once, about as fast as the disk reads them; interrupted, the command goes on:

    python tools/make_shards.py data/imagenet/train data/imagenet-shards/train --no-labels
    python tools/make_shards.py data/imagenet/val data/imagenet-shards/val --no-labels

Paper: https://arxiv.org/abs/2111.06377 (table 8).
Run:   tools/dist_train.sh \
           configs/pretrain/scale_out/mae_vit-base-p16_8xb512-shards-amp-coslr-800e_in1k.py 8 \
           --data-root DIR
       DIR holds the shards, or `train` and `val` that hold them. From a bucket, with the index
       that make_shards.py wrote and room for 64 shards of 2,000 images on each machine:
           --cfg-options train_dataloader.dataset.max_cached=64 \
           train_dataloader.dataset.index='pipe:aws s3 cp s3://B/index.npz -' \
           train_dataloader.dataset.shards='pipe:aws s3 cp s3://B/images-{00000..00640}.tar -'
Cost:  as configs/mae_vit-b_pretrain.py: 8 GPUs x 512 images; 800 epochs x 312 iterations.
Score: as configs/mae_vit-b_pretrain.py: the images are the same, their order is shuffled within
       16 shards at a time.
"""

_base_ = '../../mae_vit-b_pretrain.py'

shards = 'data/imagenet-shards'

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mae_plugin.ImageShards',
        shards=f'{shards}/train',
        labels=False,
        pipeline=_base_.train_dataloader.dataset.pipeline,
    )
)
test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mae_plugin.ImageShards',
        shards=f'{shards}/val',
        labels=False,
        pipeline=_base_.test_dataloader.dataset.pipeline,
    )
)
