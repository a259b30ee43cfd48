"""How the run of a checkpoint decoded its images."""

from pathlib import Path
from typing import Any

from mmengine.config import Config

from mae_plugin.checkpoint.addresses import local_copy
from mae_plugin.checkpoint.safe_load import safe_load
from mae_plugin.checkpoint.stored_config import literal_config
from mae_plugin.datasets.decoding_options import decoding_options


def stored_decoding(checkpoint: str | Path, config: str | Path | None = None) -> dict[str, Any]:
    """Options of decoding: 16 bits kept or not, values without data.

    Args:
        checkpoint: Any file of weights.
        config: Config file of its run; by default the one in the checkpoint, if any.

    Returns:
        Arguments of :class:`~mae_plugin.datasets.decoding.decode.ImageSource`; empty for files
        that say nothing of it.
    """
    if config is not None:
        return decoding_options(Config.fromfile(config))
    with local_copy(str(checkpoint)) as path:
        meta = safe_load(path, mmap=True).get('meta')
    text = meta.get('cfg') if isinstance(meta, dict) else None
    return decoding_options(literal_config(text)) if isinstance(text, str) else {}
