"""All maskings of ours, as registered: a new one is held to the laws with no line here."""

from mae_plugin import models  # noqa: F401, registers them
from mae_plugin.models.masking import GridMasking, Masking
from mae_plugin.registry import MODELS

KINDS = tuple(
    part
    for part in MODELS.module_dict.values()
    if issubclass(part, Masking) and part.__module__.startswith('mae_plugin.')
)
RANDOM_KINDS = tuple(kind for kind in KINDS if kind is not GridMasking)
