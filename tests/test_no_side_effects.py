"""Building and importing parts changes nothing outside them; nothing foreign is replaced."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / 'mae_plugin'
MODULES = sorted(
    '.'.join(path.relative_to(PACKAGE.parent).with_suffix('').parts).removesuffix('.__init__')
    for path in PACKAGE.rglob('*.py')
)

BUILD_ALL = """
import sys
import torch, mmcv.cnn
from mmengine.runner import CheckpointLoader, Runner
from torch.nn.modules import module

def outside():
    hooks = {name: dict(value) for name, value in vars(module).items()
             if name.startswith('_global_') and isinstance(value, dict)}
    names = torch._C._dispatch_get_all_op_names()
    return hooks, dict(CheckpointLoader._schemes), {name.split('::')[0] for name in names}

before = outside()
from mae_plugin.registry import MODELS
import mae_plugin.models

arch = dict(embed_dims=16, num_layers=2, num_heads=2)
vit = dict(arch=arch, img_size=32)
decoder = dict(in_dims=16, embed_dims=16, depth=1, num_heads=2, img_size=32, patch_size=16)
target = dict(type='PixelTarget', patch_size=16)
head = dict(in_dims=16, target=target)
tokenizer = dict(type='TokenPool', dims=16)
ARGUMENTS = dict(
    ViT=vit,
    ViTBackbone=vit,
    MAEDecoder=decoder,
    CrossAttentionDecoder=decoder,
    RandomMasking={}, BlockMasking={}, GridMasking={}, GreenNoiseMasking={}, CellMasking={},
    SinCosPositions=dict(dims=16, grid=(2, 2)),
    LearnedPositions=dict(dims=16, grid=(2, 2)),
    RotaryPositions=dict(dims=16, num_heads=2),
    PixelTarget=dict(patch_size=16),
    PCATarget=dict(patch_size=16),
    TokenTarget=dict(tokenizer=tokenizer, vocab_size=8),
    TeacherTarget=dict(teacher=mae_plugin.models.ViT(**vit)),
    ReconstructionHead=head,
    MAEDataPreprocessor={},
    MAE=dict(
        backbone=dict(type='ViT', **vit),
        decoder=dict(type='MAEDecoder', **decoder),
        head=dict(type='ReconstructionHead', **head),
        masking=dict(type='RandomMasking'),
    ),
    LoRA=dict(module=dict(type='ViT', **vit)),
    TokenPool=dict(dims=16),
    LayerNorm2d=dict(num_channels=4),
    MapNorm=dict(in_channels=[16]),
    SimpleFeaturePyramid=dict(in_channels=16, out_channels=8),
    BlockGroupPyramid=dict(in_channels=16),
)
ours = {name for name, part in MODELS.module_dict.items()
        if part.__module__.startswith('mae_plugin.')}
assert ours == set(ARGUMENTS), f'build these here too: {ours ^ set(ARGUMENTS)}'
for name, arguments in ARGUMENTS.items():
    part = MODELS.build(dict(type=name, **arguments))
    if hasattr(part, 'init_weights'):
        part.init_weights()
after = outside()
for then, now in zip(before, after):
    assert then == now, (then, now)
layers = ('cli', 'engine', 'evaluation', 'visualization', 'datasets')
above = [name for name in sys.modules if name.startswith(tuple(f'mae_plugin.{x}' for x in layers))]
assert not above, above
"""

IMPORT_ALL = """
import importlib, sys
import torch, mmengine.runner, mmcv.cnn, rich.progress, matplotlib.pyplot, tifffile, cv2
for name in ('fcntl', 'resource', 'pwd', 'grp', 'termios'):
    sys.modules[name] = None
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def run(code: str, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, '-c', code, *arguments],
        capture_output=True, text=True, cwd=PACKAGE.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_building_every_model_changes_nothing_outside():
    run(BUILD_ALL)


@pytest.mark.slow
def test_every_module_is_imported_without_posix():
    run(IMPORT_ALL, *MODULES)


def foreign_names(tree: ast.AST) -> set[str]:
    """Names bound to modules and what is in them, but for our own."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name.split('.')[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not _is_ours(node):
            names |= {alias.asname or alias.name for alias in node.names}
    return names


def _is_ours(node: ast.ImportFrom) -> bool:
    return bool(node.level) or (node.module or '').startswith('mae_plugin')


def replacements(source: str) -> list[str]:
    """What a module's code assigns to attributes of foreign modules and classes."""
    tree = ast.parse(source)
    foreign = foreign_names(tree)
    found = []
    for node in ast.walk(tree):
        targets: list[ast.expr] = []
        if isinstance(node, (ast.Assign, ast.Delete)):
            targets = node.targets
        elif isinstance(node, (ast.AugAssign, ast.AnnAssign)):
            targets = [node.target]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ('setattr', 'delattr'):
            targets = [ast.Attribute(node.args[0], 'x')]
        for target in targets:
            for leaf in target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]:
                root: ast.AST = leaf
                while isinstance(root, ast.Attribute):
                    root = root.value
                is_attribute = isinstance(leaf, ast.Attribute) and isinstance(root, ast.Name)
                # The command hands its sub-commands their command line: the process is its own.
                if is_attribute and root.id in foreign and ast.unparse(leaf) != 'sys.argv':
                    found.append(ast.unparse(node))
    return found


def test_the_search_finds_replacements():
    source = """
import torch.optim as optim
from mmengine.runner import Runner, runner as module
module.collect_env = None
setattr(optim.AdamW, 'step', None)
Runner.train, x = 1, 2
own = Runner()
own.train = 3
"""
    assert len(replacements(source)) == 3


def test_nothing_foreign_is_replaced():
    found = {
        str(path): replacements(path.read_text(encoding='utf-8'))
        for path in PACKAGE.rglob('*.py')
        if path.name != 'compat.py'
    }
    assert not {path: what for path, what in found.items() if what}
