"""Write an encoder or backbone as ONNX or as a torch.export program.

``mae-plugin`` runs the same: :mod:`mae_plugin.cli.export_model`.
"""

import sys
from pathlib import Path

# A clone works without being installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mae_plugin.cli.export_model import main

if __name__ == '__main__':
    main()
