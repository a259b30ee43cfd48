"""The model that a checkpoint was trained as, from the config text stored inside it.

mmengine would execute that text; a checkpoint may come from anyone, so here it is only read.
"""

import ast
import re
from pathlib import Path
from typing import Any

from torch import nn

from mae_plugin.checkpoint.safe_load import safe_load
from mae_plugin.registry import MODELS


def literal_config(text: str) -> dict[str, Any]:
    """Read a dumped config without running it.

    Args:
        text: Assignments of literals, as mmengine's ``Config.pretty_text`` writes them:
            numbers, strings, lists, tuples, dict displays and ``dict(...)`` calls.

    Raises:
        ValueError: If there is anything else in it; the line is shown.
    """
    try:
        statements = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(
            f"the config stored in the checkpoint cannot be read: {error}. Give the run's own "
            'config with --config'
        ) from error
    config = {}
    for statement in statements:
        if not (
            isinstance(statement, ast.Assign)
            and len(statement.targets) == 1
            and isinstance(statement.targets[0], ast.Name)
        ):
            raise ValueError(_refusal(statement))
        config[statement.targets[0].id] = _literal(statement.value)
    return config


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and ast.unparse(node.func) == 'dict' and not node.args:
        names = [keyword.arg for keyword in node.keywords]
        if all(names):
            return dict(zip(names, (_literal(keyword.value) for keyword in node.keywords)))
    if isinstance(node, ast.Dict) and all(node.keys):
        keys = [_literal(key) for key in node.keys if key is not None]
        return dict(zip(keys, map(_literal, node.values)))
    if isinstance(node, ast.List):
        return [_literal(item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_literal(item) for item in node.elts)
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(_refusal(node)) from None


def _refusal(node: ast.AST) -> str:
    return (
        f'the config stored in the checkpoint holds code, which is not run: '
        f'"{ast.unparse(node).splitlines()[0][:80]}". Give the run\'s own config with --config'
    )


def model_of_checkpoint(checkpoint: str | Path, config: str | Path | None = None) -> nn.Module:
    """Build the pretraining model of a checkpoint and load its weights.

    Args:
        checkpoint: A run of this project, or, with ``config``, an official or other MAE file.
        config: Config file that describes the model; by default the one in the checkpoint.

    Returns:
        The model in evaluation mode.

    Raises:
        ValueError: If the checkpoint brings no config, or one with a part that is not ours; if
            its weights do not fit.
    """
    from mmengine.config import Config

    from mae_plugin.checkpoint import load_pretrained

    if config is not None:
        model_config = Config.fromfile(config).model
    else:
        meta = safe_load(checkpoint).get('meta') or {}
        if not isinstance(meta.get('cfg'), str):
            raise ValueError(
                f'{checkpoint} does not say which model it is: give the config with --config, '
                'e.g. --config configs/mae_vit-b_pretrain.py for an official ViT-B file'
            )
        model_config = literal_config(meta['cfg']).get('model')
        if not isinstance(model_config, dict):
            raise ValueError(f'the config stored in {checkpoint} has no model: give --config')
    model = _build(model_config, checkpoint if config is None else config, config is not None)
    load_pretrained(model, str(checkpoint))
    return model.eval()


def _build(model_config: dict[str, Any], source: str | Path, is_file: bool) -> nn.Module:
    """Build a model, of parts that may be registered nowhere here."""
    try:
        return MODELS.build(model_config)
    except KeyError as error:
        unknown = re.search(r'(\S+) is not in the \S+ registry', str(error))
        if unknown is None:
            raise
        way_out = (
            'add custom_imports=dict(imports=[MODULE]) to it, and run where MODULE can be imported'
            if is_file
            else "give the run's own config, whose custom_imports bring it: --config FILE"
        )
        raise ValueError(
            f"the model of {source} has a part of your own, '{unknown[1]}', which nothing here "
            f'registers: {way_out}'
        ) from None
