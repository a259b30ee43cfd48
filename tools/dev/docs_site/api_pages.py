"""The API reference: a page for each part of the package, filled by mkdocstrings."""

import ast
from collections.abc import Iterator
from pathlib import Path

# What a page holds: packages and modules of mae_plugin, in the order of use.
PARTS = {
    'models': ('Models', 'The trunk, maskings, decoders, targets and MAE.'),
    'models/dense': ('Dense models', 'Backbone and pyramids for detection and segmentation.'),
    'datasets': ('Data', 'Folders, loading transforms, samplers.'),
    'datasets/decoding': ('Decoding', 'From the bytes of a file to pixels, for each format.'),
    'datasets/shards': ('Shards', 'Tar shards, local or fetched.'),
    'checkpoint': ('Checkpoints', 'Reading, recognising, adapting and exporting files.'),
    'evaluation': ('Evaluation', 'Frozen features and probes.'),
    'engine': ('Training', 'Runner, loop, optimizer and its wrappers.'),
    'engine/hooks': ('Hooks', 'What happens around the steps of a run.'),
    'visualization': ('Pictures', 'Reconstructions, attention, features, the report.'),
    '': ('Base', 'Sizes, errors, files and the configs that come with the package.'),
}


def api_pages(package: Path) -> Iterator[tuple[str, str]]:
    """Path and Markdown of each page, and of the page that lists them.

    Args:
        package: Folder of ``mae_plugin``.
    """
    lines = [
        '# API',
        '',
        'From Python, what a notebook needs is at the top of the package: `load_encoder`, '
        '`load_image`, `patch_features`, `model_of_checkpoint`, `config_path`.',
        'In configs every part is named `mae_plugin.NAME`. B images, C channels, H x W pixels, '
        'patches of p pixels, a grid of h x w, L = h w patches of which K are kept, width D, '
        'P prefix tokens. In masks 1 means removed.',
        '',
        '| page | holds |',
        '|---|---|',
    ]
    for folder, (title, summary) in PARTS.items():
        name = folder.replace('/', '_') or 'base'
        lines.append(f'| [{title}](api/{name}.md) | {summary} |')
        yield f'docs/api/{name}.md', _page(package, folder, title, summary)
    yield 'docs/api.md', '\n'.join([*lines, ''])


def _page(package: Path, folder: str, title: str, summary: str) -> str:
    dotted = '.'.join(('mae_plugin', *filter(None, folder.split('/'))))
    lines = [f'# {title}', '', summary, '']
    for path in sorted((package / folder).glob('*.py')):
        if not path.stem.startswith('_') and _has_public_names(path):
            lines += [f'::: {dotted}.{path.stem}', '']
    return '\n'.join(lines)


def _has_public_names(path: Path) -> bool:
    tree = ast.parse(path.read_text(encoding='utf-8'))
    kinds = (ast.FunctionDef, ast.ClassDef)
    return any(isinstance(node, kinds) and not node.name.startswith('_') for node in tree.body)
