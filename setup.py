"""What mae_plugin is and what it needs; see pyproject.toml for how it is built and checked."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
# What OpenMMLab's packages carry in `<package>/.mim`, where `mim` and our command find it.
SHIPPED = ('configs', 'tools', 'model-index.yml')

# Floors alone, and the caps that the hosts state: installing moves no torch, numpy or mmcv that
# works. cv2 comes with mmcv, which decides between its variants. imagecodecs holds the
# compressions of tifffile (LZW and others).
REQUIRED = [
    'filelock',
    'imagecodecs',
    'jinja2',
    'numpy',
    'pillow',
    'rich',
    'safetensors',
    'simplejpeg',
    'tifffile',
    'torch>=2.1',
]
# The OpenMMLab libraries come in two distributions with the same import names: the maintained
# forks (onedl-*) and the upstream ones, which stand still since 2024. Installing one over the
# other breaks both, so neither is a hard requirement: name an extra.
FORKS = ['onedl-mmengine>=0.10.12', 'onedl-mmcv>=2.3.6']
FORK_HOSTS = {
    'det': ['onedl-mmdetection>=3.5.1'],
    'seg': ['onedl-mmsegmentation>=1.4.2'],
    'cls': ['onedl-mmpretrain>=1.3.6'],
}
# Upstream's mmcv is left out: pip cannot build its source (it wants pkg_resources and torch), and
# would replace one that the user has compiled. `mae-plugin doctor` says how to get it.
UPSTREAM = ['mmengine>=0.10.3']
UPSTREAM_HOSTS = {
    'det': ['mmdet>=3.3'],
    'seg': ['mmsegmentation>=1.2.2', 'ftfy', 'regex'],
    'cls': ['mmpretrain>=1.2'],
}
# The site: `make docs`.
DOCS = ['mkdocs>=1.6,<2', 'mkdocs-material>=9.5,<10', 'mkdocstrings[python]>=1,<2']
# Zarr and DICOM.
RASTER = ['pydicom>=3', 'zarr']
# Writing ONNX, and running what was written.
EXPORT = ['onnx', 'onnxruntime']
# The page to play with.
DEMO = ['gradio>=6']
# tools/embed.py: parquet, t-SNE.
EMBED = ['pyarrow', 'scikit-learn']
DEV = [
    'alembic',
    'hypothesis',
    'import-linter>=2.13',
    'ipykernel',
    'mlflow-skinny',
    'mypy==2.4.1',
    'nbclient',
    'pre-commit',
    'pyarrow',
    'pytest>=8',
    'pytest-xdist',
    'ruff==0.17.6',
    'scikit-image',
    'scikit-learn',
    'sqlalchemy',
    'tensorboard',
    'timm>=1',
    'webdataset',
]
# The forks' mmpretrain does not import beside transformers 5, upstream's not beside 4.50.
TRANSFORMERS = {'dev': 'transformers>=4.53,<5', 'upstream-dev': 'transformers>=4.40,<4.41'}


class BuildWithConfigs(build_py):
    """Puts configs and tools into the wheel; an editable installation gets links to them."""

    def run(self) -> None:
        super().run()
        # setuptools before 64, to which openmim holds people, has no editable mode of this kind.
        editable = getattr(self, 'editable_mode', False)
        package = ROOT if editable else Path(self.build_lib)
        target = package / 'mae_plugin' / '.mim'
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in SHIPPED:
            source = ROOT / name
            if editable:
                try:
                    (target / name).symlink_to(Path('../..') / name)
                except OSError:  # Windows grants it to few; our own command does without
                    shutil.rmtree(target)
                    return
            elif source.is_dir():
                ignored = shutil.ignore_patterns('__pycache__', 'dev')
                shutil.copytree(source, target / name, ignore=ignored)
            else:
                shutil.copy2(source, target / name)


def _extras() -> dict[str, list[str]]:
    hosts = [requirement for host in FORK_HOSTS.values() for requirement in host]
    upstream = UPSTREAM + [name for host in UPSTREAM_HOSTS.values() for name in host]
    extras = {'onedl': FORKS, 'all': FORKS + hosts, 'raster': RASTER, 'docs': DOCS}
    extras |= {'export': EXPORT, 'embed': EMBED, 'demo': DEMO}
    extras |= {name: FORKS + host for name, host in FORK_HOSTS.items()}
    extras |= {'upstream': UPSTREAM, 'upstream-all': upstream}
    extras |= {f'upstream-{name}': UPSTREAM + host for name, host in UPSTREAM_HOSTS.items()}
    extras['dev'] = FORKS + hosts + DEV + RASTER + EXPORT + [TRANSFORMERS['dev']]
    extras['upstream-dev'] = upstream + DEV + RASTER + EXPORT + [TRANSFORMERS['upstream-dev']]
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
    # 3.9 ended in 2025; types written `int | None` and zip(strict=True) need 3.10.
    python_requires='>=3.10',
    packages=find_packages(include=['mae_plugin', 'mae_plugin.*']),
    package_data={
        'mae_plugin': ['py.typed', 'cli/*.j2', 'cli/transfer/*.j2', 'visualization/*.j2']
    },
    install_requires=REQUIRED,
    extras_require=_extras(),
    entry_points={'console_scripts': ['mae-plugin = mae_plugin.cli.main:main']},
    cmdclass={'build_py': BuildWithConfigs},
)
