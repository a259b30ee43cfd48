r"""Look at what a model has learned: its reconstructions, its attention or its features.

Reconstructions: original | masked | reconstruction | with visible patches.
    python tools/visualize.py work_dirs/RUN/epoch_800.pth photo.jpg another.png
    python tools/visualize.py CKPT photos/*.jpg --mask-ratio 0.5 0.75 --masking block --seed 3
    python tools/visualize.py mae_visualize_vit_base.pth photo.jpg \
        --config configs/mae_vit-b_pretrain.py
A model of normalised pixels (norm_pix) predicts no brightness and contrast: as in the paper's
pictures, each patch gets those of the true image, so even an untrained one shows right colours.
Judge it by the structure inside the patches, and by the loss, which begins near 1.

Attention of the class token in one block, mean over the heads, with --heads also each head:
    python tools/visualize.py CKPT photo.jpg --show attention --size 448 --heads

Features: the patches' first three principal components, over all images, as colours. Parts that
the encoder takes for alike get like colours:
    python tools/visualize.py CKPT photos/*.jpg --show features --size 448

Attention and features need only an encoder: a run of any task, or any ViT file (MAE, DINO, timm,
...); a file of a size of its own that names no heads wants --num-heads.
"""

from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from pathlib import Path
from typing import TYPE_CHECKING

from mae_plugin.cli.run_config import user_errors
from mae_plugin.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from mae_plugin.models.masking import Masking

MASKINGS = dict(
    random='RandomMasking',
    block='BlockMasking',
    grid='GridMasking',
    green='GreenNoiseMasking',
    cell='CellMasking',
)
# What each option belongs to, where it is not all.
ONLY_FOR = dict(
    mask_ratio=('reconstruction',),
    masking=('reconstruction',),
    seed=('reconstruction',),
    block=('attention',),
    heads=('attention',),
    num_heads=('attention', 'features'),
)


def parse_args() -> Namespace:
    """Command line."""
    parser = ArgumentParser(
        description=__doc__, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('checkpoint', help='run of this project, or any MAE or ViT file')
    parser.add_argument('images', nargs='+', help='image files, of any size')
    parser.add_argument(
        '--show', choices=['reconstruction', 'attention', 'features'], default='reconstruction'
    )
    parser.add_argument('--out', help='the picture to write; by default SHOW.png')
    parser.add_argument('--config', help="the model's config, where the checkpoint has none")
    parser.add_argument(
        '--size',
        type=short_side,
        metavar='PIXELS|native',
        help='short side that the images are resized to: that of pretraining by default, or '
        '"native" to leave them as they are (large images take much memory)',
    )
    parser.add_argument('--bands', type=int, nargs='+', help='one or three channels to show')
    parser.add_argument('--device', help='cuda where there is one, else cpu')
    group = parser.add_argument_group('reconstruction')
    group.add_argument(
        '--mask-ratio', type=share, nargs='+', help='one or more; by default that of training'
    )
    group.add_argument('--masking', choices=MASKINGS, help='by default that of training')
    group.add_argument('--seed', type=int, help='of the masks; 0 by default')
    group = parser.add_argument_group('attention and features')
    group.add_argument('--block', type=int, help='whose attention; -1, the last, by default')
    group.add_argument('--heads', action='store_true', default=None, help='each head as well')
    group.add_argument('--num-heads', type=int, help='of the encoder, if its file cannot tell')
    args = parser.parse_args()
    for name, shows in ONLY_FOR.items():
        if getattr(args, name) is not None and args.show not in shows:
            option = '--' + name.replace('_', '-')
            parser.error(f'{option} is of no use here: it goes with --show {" or ".join(shows)}')
    args.out = Path(args.out or f'{args.show}.png')
    return args


def short_side(text: str) -> int | str:
    """A value of ``--size``."""
    if text == 'native':
        return text
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise ArgumentTypeError(f"'{text}': give a positive number of pixels, or native")


def share(text: str) -> float:
    """A value of ``--mask-ratio``."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise ArgumentTypeError(f"'{text}' is no number in [0, 1): the paper uses 0.75")
    return value


def check_files(args: Namespace) -> None:
    """Refuse what could not be read or written, before any work.

    Raises:
        UserError: Naming the file.
    """
    import cv2

    from mae_plugin.evaluation.encoder import read_model_config

    missing = [path for path in args.images if not Path(path).is_file()]
    if missing:
        raise UserError(f'no image file {missing[0]!r}')
    if not cv2.haveImageWriter(str(args.out)):
        raise UserError(f'--out {args.out}: the name must end in .png, .jpg or the like')
    if args.config:
        read_model_config(args.config)


def choose_masking(trained: 'Masking', kind: str | None, ratio: float | None) -> 'Masking':
    """The masking of training with another ratio, or one of another kind."""
    import copy

    from mae_plugin.registry import MODELS

    if kind is None or isinstance(trained, MODELS.get(MASKINGS[kind])):
        masking = copy.deepcopy(trained)
        masking.mask_ratio = masking.mask_ratio if ratio is None else ratio
        return masking
    ratio = trained.mask_ratio if ratio is None else ratio
    return MODELS.build(dict(type=MASKINGS[kind], mask_ratio=ratio))


def draw_reconstructions(args: Namespace) -> 'np.ndarray':
    """A row for each image and mask ratio."""
    from mae_plugin.datasets.randomness import sample_key
    from mae_plugin.evaluation.stored_decoding import stored_decoding
    from mae_plugin.evaluation.stored_model import model_of_checkpoint
    from mae_plugin.visualization.images import load_image
    from mae_plugin.visualization.reconstruction import reconstruction_panels, stack_pictures

    model = model_of_checkpoint(args.checkpoint, args.config).to(args.device)
    maskings = [
        choose_masking(model.masking, args.masking, ratio) for ratio in args.mask_ratio or [None]
    ]
    decoding = stored_decoding(args.checkpoint, args.config)
    pictures = []
    for number, path in enumerate(args.images):
        image = load_image(path, model.backbone, args.size, **decoding)
        for masking in maskings:
            model.masking = masking
            keys = [sample_key(args.seed or 0, number)]
            pictures.append(reconstruction_panels(model, image, keys, args.bands))
        print(f'{number + 1}/{len(args.images)} {path}', flush=True)
    return stack_pictures(pictures)


def draw_encoder(args: Namespace) -> 'np.ndarray':
    """A row for each image: where the class token looks, or the features' components."""
    from mae_plugin.evaluation.encoder import load_encoder, patch_features
    from mae_plugin.evaluation.stored_decoding import stored_decoding
    from mae_plugin.visualization.attention import attention_panels, class_attention
    from mae_plugin.visualization.features import feature_panels
    from mae_plugin.visualization.images import load_image
    from mae_plugin.visualization.reconstruction import (
        display_bands,
        stack_pictures,
        to_display,
    )

    vit, preprocessor = load_encoder(args.checkpoint, args.num_heads, args.config)
    vit, preprocessor = vit.to(args.device), preprocessor.to(args.device)
    bands = display_bands(vit.patch_embed.proj.in_channels, args.bands)
    decoding = stored_decoding(args.checkpoint, args.config)
    originals, found = [], []
    for number, path in enumerate(args.images):
        image = load_image(path, vit, args.size, **decoding)
        originals.append(to_display(image, image, bands))
        inputs = preprocessor(dict(inputs=image))['inputs']
        if args.show == 'attention':
            block = -1 if args.block is None else args.block
            found.append(class_attention(vit, inputs, block))
        else:
            found.append(patch_features(vit, inputs)[0])
        print(f'{number + 1}/{len(args.images)} {path}', flush=True)
    if args.show == 'features':
        return feature_panels([original[0] for original in originals], found)
    rows = zip(originals, found)
    return stack_pictures([attention_panels(*row, heads=bool(args.heads)) for row in rows])


def main() -> None:
    """Draw the picture."""
    args = parse_args()
    with user_errors():
        import cv2
        import torch

        from mae_plugin.visualization.reconstruction import enlarge

        check_files(args)
        args.device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
        draw = draw_reconstructions if args.show == 'reconstruction' else draw_encoder
        picture = enlarge(draw(args))
        args.out.parent.mkdir(parents=True, exist_ok=True)
        if not cv2.imwrite(str(args.out), picture[..., ::-1]):
            raise UserError(f'cannot write {args.out}: give another place with --out')
        columns = dict(
            reconstruction='original | masked | reconstruction | with the visible patches',
            attention='original | attention, mean over heads' + ' | each head' * bool(args.heads),
            features='original | principal components of the features',
        )
        print(f'{columns[args.show].capitalize()}: {args.out}')
