"""What mae_plugin is and what it needs; see pyproject.toml for how it is built and checked."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent

# The OpenMMLab libraries come in two distributions with the same import names: the maintained
# forks (onedl-*), which are what we test, and the upstream ones, which stand still since 2024.
# Installing one over the other breaks both, so neither is a hard requirement: name an extra.
FORKS = ['onedl-mmengine>=0.10.12', 'onedl-mmcv>=2.3.6']
FORK_HOSTS = {
    'det': ['onedl-mmdetection>=3.5.1'],
    'seg': ['onedl-mmsegmentation>=1.4.2'],
    'cls': ['onedl-mmpretrain>=1.3.6'],
}
UPSTREAM = ['mmengine>=0.10.7', 'mmcv>=2.1']
UPSTREAM_HOSTS = {
    'det': ['mmdet>=3.3'],
    'seg': ['mmsegmentation>=1.2.2'],
    'cls': ['mmpretrain>=1.2'],
}
# mmpretrain 1.3 does not import beside transformers 5.
DEV = [
    'hypothesis',
    'import-linter==2.17',
    'mypy==2.4.1',
    'pre-commit',
    'pytest>=8',
    'pytest-xdist',
    'ruff==0.17.6',
    'scikit-image',
    'scikit-learn',
    'tensorboard',
    'timm>=1',
    'transformers>=4.53,<5',
    'webdataset',
]


def _extras() -> dict[str, list[str]]:
    hosts = [requirement for host in FORK_HOSTS.values() for requirement in host]
    extras = {'onedl': FORKS, 'all': FORKS + hosts, 'dev': FORKS + hosts + DEV}
    extras |= {name: FORKS + host for name, host in FORK_HOSTS.items()}
    extras |= {'upstream': UPSTREAM}
    extras |= {f'upstream-{name}': UPSTREAM + host for name, host in UPSTREAM_HOSTS.items()}
    return extras


def _version() -> str:
    source = (ROOT / 'mae_plugin' / '__init__.py').read_text(encoding='utf-8')
    found = re.search(r"__version__ = '([^']+)'", source)
    if found is None:
        raise RuntimeError('mae_plugin/__init__.py names no __version__')
    return found[1]


def _readme() -> str:
    path = ROOT / 'README.md'
    return path.read_text(encoding='utf-8') if path.exists() else ''


setup(
    name='mae_plugin',
    version=_version(),
    description='Masked autoencoder pretraining for OpenMMLab, and its transfer to every host',
    long_description=_readme(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=['mae_plugin', 'mae_plugin.*']),
    package_data={'mae_plugin': ['py.typed', 'visualization/*.j2']},
    # cv2 comes with mmcv, which decides between its variants.
    # imagecodecs holds the compressions of tifffile (LZW and others).
    install_requires=[
        'imagecodecs',
        'jinja2',
        'numpy',
        'pillow',
        'rich',
        'safetensors',
        'simplejpeg',
        'tifffile',
        'torch>=2.4',
    ],
    extras_require=_extras(),
)
