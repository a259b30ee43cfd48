"""Measure this machine: input path, training step, dense backbone, growth, start-up.

Examples:
    python tools/dev/benchmark.py data --data-root photos       # what disk, decoder, workers give
    python tools/dev/benchmark.py data --data-root chips --size 96 --channels 12
    python tools/dev/benchmark.py windows --data-root slides    # of images too large to decode
    python tools/dev/benchmark.py train --out work_dirs/bench   # step against other MAEs
    python tools/dev/benchmark.py train --decoder cross         # with the cheaper decoder
    python tools/dev/benchmark.py train --device cuda --amp --compile
    python tools/dev/benchmark.py backbone                      # ViT at 1024 px, dense tasks
    python tools/dev/benchmark.py scaling                       # cost against size, with plots
    python tools/dev/benchmark.py startup                       # command to first iteration
    python tools/dev/benchmark.py cluster --gpus 8 64 512       # many GPUs, worked out on paper

Contestants run in turn within one run; medians and the spread are reported, beside the matrix
products that bound them. With --out the report is written as Markdown, JSON and plots.
"""

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from importlib import import_module
from pathlib import Path

# A clone works without being installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # of tools/make_shards.py
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mae_plugin.cli.run_config import user_errors

COMMANDS = {
    'data': 'input path: decode, crop, workers, disk',
    'windows': 'windows of large images: rate, and memory of a worker',
    'train': 'training step against other MAEs, and the matrix-product bound',
    'backbone': 'dense backbone against eager relative positions',
    'scaling': 'cost against resolution, batch, depth and mask ratio',
    'startup': 'from the command to the first iteration',
    'cluster': 'what bounds a run on many GPUs, on paper',
}


def main(argv: list[str] | None = None) -> None:
    """Run the measurement that the command line names."""
    parser = ArgumentParser(
        description=__doc__, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False
    )
    subparsers = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    argv = sys.argv[1:] if argv is None else argv
    for name, purpose in COMMANDS.items():
        subparser = subparsers.add_parser(
            name, help=purpose, formatter_class=RawDescriptionHelpFormatter
        )
        if name in argv[:1]:
            module = import_module(f'benchmarks.{name}')
            subparser.description = module.__doc__
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.main)
    args = parser.parse_args(argv)
    with user_errors():
        args.run(args)


if __name__ == '__main__':
    main()
