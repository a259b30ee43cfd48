"""The config that a run stores in its checkpoints, as text.

mmengine would execute that text; a checkpoint may come from anyone, so here it is only read.
"""

import ast
from collections.abc import Mapping
from typing import Any

from mae_plugin.errors import UserError


def stored_config(content: Mapping[str, Any]) -> dict[str, Any]:
    """The config beside a run's weights; empty if there is none, or none that can be read."""
    meta = content.get('meta')
    text = meta.get('cfg') if isinstance(meta, Mapping) else None
    try:
        return literal_config(text) if isinstance(text, str) else {}
    except ValueError:
        return {}


def literal_config(text: str) -> dict[str, Any]:
    """Read a dumped config without running it.

    Args:
        text: Assignments of literals, as mmengine's ``Config.pretty_text`` writes them:
            numbers, strings, lists, tuples, dict displays and ``dict(...)`` calls.

    Raises:
        UserError: If there is anything else in it; the line is shown.
    """
    try:
        statements = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(
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
            raise UserError(_refusal(statement))
        config[statement.targets[0].id] = _literal(statement.value)
    return config


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and ast.unparse(node.func) == 'dict':
        names = [keyword.arg for keyword in node.keywords]
        if not node.args and all(names):
            return dict(zip(names, (_literal(keyword.value) for keyword in node.keywords)))
        # Where a key is no name, mmengine writes dict({'.norm1.': ...}).
        if not names and len(node.args) == 1 and isinstance(node.args[0], ast.Dict):
            node = node.args[0]
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
        raise UserError(_refusal(node)) from None


def _refusal(node: ast.AST) -> str:
    return (
        f'the config stored in the checkpoint holds code, which is not run: '
        f'"{ast.unparse(node).splitlines()[0][:80]}". Give the run\'s own config with --config'
    )
