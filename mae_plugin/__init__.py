"""MAE pretraining for OpenMMLab; importing this package imports nothing heavy."""

__version__ = '0.1.0'
