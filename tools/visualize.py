r"""Look at what a model reconstructs: original | masked | reconstruction | with visible patches.

Examples:
    python tools/visualize.py work_dirs/RUN/epoch_800.pth photo.jpg another.png
    python tools/visualize.py CKPT photos/*.jpg --mask-ratio 0.5 0.75 --masking block --seed 3
    python tools/visualize.py mae_visualize_vit_base.pth photo.jpg \
        --config configs/mae_vit-b_pretrain.py
"""

import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path
from typing import TYPE_CHECKING

# A clone works without being installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mae_plugin.run_config import user_errors

if TYPE_CHECKING:
    from torch import Tensor, nn

MASKINGS = dict(random='RandomMasking', block='BlockMasking', grid='GridMasking')


def parse_args() -> Namespace:
    """Command line."""
    parser = ArgumentParser(
        description=__doc__, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('checkpoint', help='run of this project, or any MAE file with --config')
    parser.add_argument('images', nargs='+', help='image files, of any size')
    parser.add_argument('--out', default='reconstruction.png', help='the picture to write')
    parser.add_argument('--config', help="the model's config, where the checkpoint has none")
    parser.add_argument(
        '--mask-ratio', type=float, nargs='+', help='one or more; by default that of training'
    )
    parser.add_argument('--masking', choices=MASKINGS, help='by default that of training')
    parser.add_argument('--seed', type=int, default=0, help='of the masks')
    parser.add_argument(
        '--size',
        default='model',
        metavar='PIXELS|native',
        help='short side that the images are resized to: that of pretraining by default, or '
        '"native" to leave them as they are (large images take much memory)',
    )
    parser.add_argument('--bands', type=int, nargs='+', help='one or three channels to show')
    parser.add_argument('--device', help='cuda where there is one, else cpu')
    return parser.parse_args()


def load_image(path: str, model: 'nn.Module', size: str) -> 'Tensor':
    """One image as (1, C, H, W), its aspect ratio kept as far as whole patches allow."""
    import numpy as np
    import torch

    from mae_plugin.datasets.decode import ImageSource
    from mae_plugin.datasets.transforms import LoadFixedCrop

    patch_size = model.backbone.patch_size
    channels = model.backbone.patch_embed.proj.in_channels
    source = ImageSource(path, channels)
    if size == 'native':
        zoom = 1.0
    else:
        short = min(model.backbone.grid) * patch_size if size == 'model' else int(size)
        zoom = short / min(source.height, source.width)
    # The tolerance keeps a side that is just short of a whole patch by rounding.
    target = [
        max(1, int(side * zoom / patch_size + 1e-3)) * patch_size
        for side in (source.height, source.width)
    ]
    crop = LoadFixedCrop(tuple(target), flip_prob=0, random=False, exact=True, channels=channels)
    results = crop(dict(img_path=path, rng=np.random.default_rng(0)))
    return torch.as_tensor(results['img'][0])[None]


def main() -> None:
    """Draw the picture."""
    args = parse_args()
    with user_errors():
        import cv2
        import torch

        from mae_plugin.datasets.randomness import sample_key
        from mae_plugin.registry import MODELS
        from mae_plugin.stored_config import model_of_checkpoint
        from mae_plugin.visualization.reconstruction import (
            enlarge,
            reconstruction_panels,
            stack_pictures,
        )

        missing = [path for path in args.images if not Path(path).is_file()]
        if missing:
            raise ValueError(f'no image file {missing[0]!r}')
        device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
        model = model_of_checkpoint(args.checkpoint, args.config).to(device)
        kind = MASKINGS[args.masking] if args.masking else type(model.masking).__name__
        pictures = []
        for number, path in enumerate(args.images):
            image = load_image(path, model, args.size)
            for ratio in args.mask_ratio or [model.masking.mask_ratio]:
                model.masking = MODELS.build(dict(type=kind, mask_ratio=ratio))
                keys = [sample_key(args.seed, number)]
                pictures.append(reconstruction_panels(model, image, keys, args.bands))
            print(f'{number + 1}/{len(args.images)} {path}', flush=True)
        picture = enlarge(stack_pictures(pictures))
        out = Path(args.out)
        out.parent.mkdir(parents=True, exist_ok=True)
        if not cv2.imwrite(str(out), picture[..., ::-1]):
            raise ValueError(f'cannot write {out}: use a name that ends in .png or .jpg')
        print(f'Original | masked | reconstruction | with the visible patches: {out}')


if __name__ == '__main__':
    main()
