"""Write a trained MAE's loss on each image, so that the next run keeps images in proportion to it.

    python tools/score_images.py work_dirs/RUN/epoch_800.pth data/imagenet/train --out losses.npz
    python tools/train.py CONFIG --data-root data/imagenet --cfg-options \
        train_dataloader.sampler.type=mae_plugin.CuratedSampler \
        train_dataloader.sampler.scores=losses.npz

Give the folder that training reads (with --data-root DIR that is DIR/train where there is one), or
its tar shards. Interrupted, or with new images in the folder, the same command goes on: what has a
loss already is not scored again. Each image is cut at its centre and has one mask of its own. One
that cannot be decoded gets 0, and is not seen again.
"""

import hashlib
import sys
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from mae_plugin.cli.run_config import user_errors
from mae_plugin.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from mae_plugin.datasets.image_dataset import ImageDataset
    from mae_plugin.datasets.image_scores import ImageScores


def parse_args() -> Namespace:
    """Command line."""
    parser = ArgumentParser(
        description=__doc__, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('checkpoint', help='a MAE with its decoder: a run, or a full file')
    parser.add_argument(
        'images', nargs='+', help='folder of images, or of tar shards; several in the order of '
        "--data-root's"
    )  # fmt: skip
    parser.add_argument('--out', type=Path, default=Path('losses.npz'), help='the file to write')
    parser.add_argument('--config', help="the model's config, where the checkpoint has none")
    parser.add_argument('--batch-size', type=int, default=64)
    parser.add_argument('--num-workers', type=int, default=2)
    parser.add_argument(
        '--save-every', type=float, default=60, metavar='SECONDS', help='of work at risk'
    )
    parser.add_argument('--device', help='cuda where there is one, else cpu')
    return parser.parse_args()


def data_set(model: 'nn.Module', sources: list[str], args: Namespace) -> 'ImageDataset':
    """The images, cut at their centre to the size that the model was trained at.

    Raises:
        UserError: If there are none.
    """
    from mae_plugin.datasets import (
        ConcatDataset,
        ImageFolder,
        ImageShards,
        LoadResizeCenterCrop,
        PackInputs,
    )
    from mae_plugin.evaluation.stored_decoding import stored_decoding

    encoder = model.backbone
    size = tuple(side * encoder.patch_size for side in encoder.grid)
    channels = encoder.patch_embed.proj.in_channels
    decoding = stored_decoding(args.checkpoint, args.config)
    pipeline = [LoadResizeCenterCrop(size, channels=channels, **decoding), PackInputs()]

    def one(source: str) -> 'ImageDataset':
        if '.tar' in Path(source).name or any(Path(source).glob('*.tar')):
            return ImageShards(source, labels=False, pipeline=pipeline)
        return ImageFolder(source, labels=False, pipeline=pipeline)

    parts = [one(source) for source in sources]
    return parts[0] if len(parts) == 1 else ConcatDataset(parts)


def begun(out: Path, images: 'ImageDataset', facts: dict[str, object]) -> 'ImageScores':
    """Scores of all images, with those that an earlier call wrote.

    Raises:
        UserError: If ``out`` is of another model, or nothing that this command wrote.
    """
    import numpy as np

    from mae_plugin.datasets.image_scores import ImageScores, image_names

    names = image_names(images)
    if not out.exists():
        return ImageScores(names, np.full(len(names), np.nan, np.float32), facts)
    stored = ImageScores.load(out)
    differs = [key for key in facts if stored.facts.get(key) != facts[key]]
    if differs:
        raise UserError(
            f'{out} has losses of another model ({", ".join(differs)} differ): choose another '
            'file with --out, or remove it'
        )
    return ImageScores(names, stored.of(names), facts)


def facts_of(model: 'nn.Module', checkpoint: str) -> dict[str, object]:
    """What decides a loss: the weights, the masks and the size."""
    digest = hashlib.sha256()
    with open(checkpoint, 'rb') as file:
        while part := file.read(1 << 24):
            digest.update(part)
    return dict(
        checkpoint=digest.hexdigest(),
        masking=repr(model.masking),
        grid=list(model.backbone.grid),
    )


def main() -> None:
    """Score what has no score, and save as it goes."""
    args = parse_args()
    with user_errors():
        import numpy as np
        import torch
        from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

        from mae_plugin.evaluation.image_losses import image_losses
        from mae_plugin.evaluation.stored_model import model_of_checkpoint

        device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
        if not Path(args.checkpoint).is_file():
            raise UserError(f'no checkpoint {args.checkpoint!r}')
        with redirect_stdout(sys.stderr):
            model = model_of_checkpoint(args.checkpoint, args.config).to(device)
        if not hasattr(model, 'reconstruct'):
            raise UserError(f'{args.checkpoint} holds no MAE, whose loss this writes')
        images = data_set(model, args.images, args)
        found = begun(args.out, images, facts_of(model, args.checkpoint))
        scores = found.scores
        left = np.flatnonzero(np.isnan(scores)).tolist()
        batches = image_losses(model, images, left, args.batch_size, args.num_workers)
        columns = [
            *Progress.get_default_columns()[:2],
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        ]
        saved = time.monotonic()
        try:
            with Progress(*columns) as progress:
                task = progress.add_task('images', total=len(scores))
                progress.update(task, completed=len(scores) - len(left))
                for indices, losses in batches:
                    scores[indices] = losses
                    progress.advance(task, len(indices))
                    if time.monotonic() - saved > args.save_every:
                        found.save(args.out)
                        saved = time.monotonic()
        finally:
            found.save(args.out)
        low, middle, high = np.quantile(scores, [0.1, 0.5, 0.9])
        print(
            f'{args.out}: losses of {len(scores)} images, a tenth below {low:.3f}, half below '
            f'{middle:.3f}, nine tenths below {high:.3f}; a pass of CuratedSampler keeps '
            f'{int(np.clip(scores.astype(float), 0, 1).sum())}'
        )
