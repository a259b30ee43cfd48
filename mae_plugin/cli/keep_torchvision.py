"""For hosts' own tools beside a torchvision of another build: importing this keeps it importable.

The one module here whose import has an effect; name it in a config on purpose:
``custom_imports = dict(imports=['mae_plugin.cli.keep_torchvision'])``.
"""

from mae_plugin.cli.torchvision_compat import keep_torchvision_importable

keep_torchvision_importable()
