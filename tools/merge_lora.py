"""Make an ordinary checkpoint of one that holds low-rank adapters (LoRA).

``mae-plugin`` runs the same: :mod:`mae_plugin.cli.merge_lora`.
"""

import sys
from pathlib import Path

# A clone works without being installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mae_plugin.cli.merge_lora import main

if __name__ == '__main__':
    main()
