"""The rows of the matrix: which Python, torch and OpenMMLab stand together."""

from dataclasses import dataclass

LIBRARIES = (
    *('einops', 'ftfy', 'regex', 'hypothesis', 'importlib-metadata', 'mat4py', 'modelindex'),
    *('filelock', 'imagecodecs', 'jinja2', 'matplotlib', 'pillow', 'rich', 'safetensors'),
    *('simplejpeg', 'tifffile', 'ninja', 'packaging', 'prettytable', 'psutil', 'pycocotools'),
    *('pytest>=8', 'pytest-xdist', 'scikit-image', 'scikit-learn', 'scipy', 'shapely', 'six'),
    *('tensorboard', 'terminaltables', 'timm>=1', 'tqdm', 'webdataset', 'wheel', 'openmim'),
    *('onnx', 'onnxruntime', 'pyarrow', 'pydicom>=3', 'zarr', 'ipykernel', 'nbclient'),
    *('alembic', 'mlflow-skinny', 'sqlalchemy'),
)


@dataclass(frozen=True)
class Environment:
    """One row of the matrix.

    Attributes:
        python: Version of Python.
        torch: Requirements of torch and torchvision.
        mmcv: Requirement of mmcv.
        hosts: mmengine and the hosts.
        pins: What else must be of certain versions.
        extras: Extras of ours that must resolve without moving anything.
        summary: The hosts, for the short table.
        note: For the long one.
        operators: Whether mmcv's operators are compiled.
        without: What tests name, that is not here: files of tests that import it are left out.
    """

    python: str
    torch: tuple[str, ...]
    mmcv: str
    hosts: tuple[str, ...]
    pins: tuple[str, ...]
    extras: tuple[str, ...]
    summary: str
    note: str = ''
    operators: bool = True
    without: tuple[str, ...] = ()


_ENGINE, _MMPRETRAIN = 'mmengine==0.10.7', 'mmpretrain==1.2.0'
_UPSTREAM_HOSTS = (_ENGINE, 'mmdet==3.3.0', 'mmsegmentation==1.2.2', _MMPRETRAIN)


def _forks(python: str, torch: str, torchvision: str) -> Environment:
    return Environment(
        python,
        (f'torch=={torch}', f'torchvision=={torchvision}'),
        mmcv='onedl-mmcv==2.3.6',
        hosts=(
            *('onedl-mmengine==0.10.12', 'onedl-mmdetection==3.5.1'),
            *('onedl-mmsegmentation==1.4.2', 'onedl-mmpretrain==1.3.6', 'imaug'),
        ),
        pins=('opencv-python-headless', 'setuptools>=77', 'transformers>=4.53,<5'),
        extras=('onedl', 'det', 'seg', 'cls', 'dev'),
        summary='onedl-mmengine 0.10.12, onedl-mmcv 2.3.6 and its hosts',
    )


_NUMPY_1 = (
    *('numpy==1.26.*', 'setuptools<70', 'opencv-python-headless<4.12', 'opencv-python<4.12'),
    'transformers==4.40.2',
    'pyarrow<24',  # newer ones want NumPy 2
)
_UPSTREAM_EXTRAS = ('upstream', 'upstream-det', 'upstream-seg', 'upstream-cls', 'upstream-dev')
ENVIRONMENTS = {
    'upstream': Environment(
        '3.10', ('torch==2.1.2', 'torchvision==0.16.2'), 'mmcv==2.1.0', _UPSTREAM_HOSTS, _NUMPY_1,
        _UPSTREAM_EXTRAS,
        'mmengine 0.10.7, mmcv 2.1.0, mmdet 3.3.0, mmseg 1.2.2, mmpretrain 1.2.0',
    ),
    'upstream-new': Environment(
        '3.11', ('torch==2.4.1', 'torchvision==0.19.1'), 'mmcv==2.2.0',
        (_ENGINE, _MMPRETRAIN), _NUMPY_1, ('upstream', 'upstream-cls'),
        'mmengine 0.10.7, mmcv 2.2.0, mmpretrain 1.2.0',
        note='mmdet and mmseg refuse mmcv 2.2.0: use the forks for them. Here are pretraining and '
        'mmpretrain, which need no operators; files of tests that import the others are left out',
        operators=False, without=('mmdet', 'mmseg', 'mmcv.ops'),
    ),
    'forks': _forks('3.11', '2.13.0', '0.28.0'),
    'newest': _forks('3.13', '2.14.1', '0.29.1'),
}  # fmt: skip
