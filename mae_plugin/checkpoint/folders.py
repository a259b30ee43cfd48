"""Folders given as a checkpoint: a model of Hugging Face or timm, shards, a run's folder."""

import json
from pathlib import Path
from typing import Any

from mae_plugin.errors import UserError

# Weights in such a folder, the first that is there; an index names the files of a split one.
WEIGHTS = ('model.safetensors', 'pytorch_model.bin')
# What describes the model and its images beside the weights, also the keys to hand it on under.
MODEL_CONFIG = 'config.json'
IMAGE_CONFIG = 'preprocessor_config.json'


def model_files(folder: Path) -> list[Path]:
    """The files of weights in a model's folder.

    Raises:
        UserError: It is no such folder; says what it is instead and what to do.
    """
    for name in WEIGHTS:
        index = folder / f'{name}.index.json'
        if (folder / name).is_file():
            return [folder / name]
        if index.is_file():
            files = _read_json(index).get('weight_map', {}).values()
            return [folder / file for file in sorted(set(files))]
    if any(folder.glob('*.distcp')):
        raise UserError(
            f"checkpoint {folder} is one of torch's distributed checkpoints; make one file of it: "
            f'python -m torch.distributed.checkpoint.format_utils dcp_to_torch {folder} whole.pth'
        )
    if any(folder.glob('rank*.pth')) or any(folder.glob('*_states.pt')):
        raise UserError(
            f'checkpoint {folder} is a folder of shards, as FSDP and DeepSpeed leave it; make one '
            f'file of it: python tools/gather_checkpoint.py {folder} whole.pth'
        )
    files = [
        file for suffix in ('pth', 'pt', 'safetensors') for file in folder.glob(f'*.{suffix}')
    ]
    if files:
        newest = max(files, key=lambda file: file.stat().st_mtime)
        raise UserError(
            f'checkpoint {folder} is a folder of {len(files)} checkpoints: name one; the newest '
            f'is {newest}'
        )
    raise UserError(
        f'checkpoint {folder} is a folder without weights: a model of Hugging Face or timm has '
        f'{" or ".join(WEIGHTS)} in it; anything else is given as a file'
    )


def model_config(folder: Path) -> dict[str, Any]:
    """What describes the model in such a folder, by the file's name."""
    paths = [folder / name for name in (MODEL_CONFIG, IMAGE_CONFIG)]
    return {path.name: _read_json(path) for path in paths if path.is_file()}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise UserError(f'{path} is damaged ({error}): copy or download it again') from error
    return content if isinstance(content, dict) else {}
