"""The command ``mae-plugin``: everything in ``tools/``, and what an installation needs besides."""

import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from mae_plugin.cli import completion, doctor, shipped_configs
from mae_plugin.cli.tools import load_tool
from mae_plugin.errors import UserError


class Command(NamedTuple):
    """A sub-command.

    Attributes:
        summary: What the help page says.
        run: A module of ``cli/`` or a script of ``tools/`` that has ``main()``, or a function of
            the arguments.
    """

    summary: str
    run: str | Callable[[Sequence[str]], None]


GROUPS: dict[str, dict[str, Command]] = {
    'Run': {
        'train': Command('pretrain, fine-tune, detect, segment: any config', 'train'),
        'test': Command("evaluate a checkpoint with a config's test loop", 'test'),
        'visualize': Command('reconstructions, attention or features of images', 'visualize'),
        'demo': Command('a page to play with, in the browser', 'demo'),
        'probe': Command('kNN and linear probe of frozen features', 'probe'),
        'embed': Command('features of a folder: table, neighbours, map', 'embed'),
        'report': Command('a run as one HTML page', 'report'),
        'start-transfer': Command(
            "a run's encoder into mmdet or mmseg, on your data", 'start_transfer'
        ),
        'ablate': Command('whole tables of ablations on your data', 'ablate.py'),
    },
    'Checkpoints': {
        'inspect': Command('what a file is, and what would happen', 'inspect_checkpoint'),
        'export': Command('into the layout of another library', 'export_checkpoint'),
        'export-model': Command('as ONNX or a torch.export program', 'export_model'),
        'merge-lora': Command('adapters into the weights that they are on', 'merge_lora'),
        'gather': Command('one plain file of a sharded checkpoint', 'gather_checkpoint'),
    },
    'Data': {
        'inspect-data': Command('what a folder holds, and a config of it', 'inspect_data.py'),
        'demo-data': Command("the demo's photographs", 'make_demo_data.py'),
        'playground-data': Command('scenes with objects, a small COCO', 'make_playground.py'),
        'class-folders': Command('labelled cut-outs, for probes', 'make_class_folders.py'),
        'score-images': Command("a MAE's loss on each image, for curation", 'score_images'),
        'shards': Command('pack a folder into tar shards', 'make_shards'),
        'inaturalist': Command("iNaturalist's labels for mmpretrain", 'convert_inaturalist.py'),
    },
    'Installation': {
        'doctor': Command('what is installed, what fits, how to mend it', doctor.main),
        'build-mmcv': Command("compile mmcv's operators for the CPU", 'build_mmcv.py'),
        'configs': Command('names of all configs', shipped_configs.list_configs),
        'config-path': Command('where a config lies', shipped_configs.print_path),
        'copy-config': Command('a config of your own on top of one', shipped_configs.copy),
        'completion': Command('completion for bash, zsh or fish', completion.main),
    },
}
COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}


def main() -> None:
    """Run the sub-command that the command line names."""
    name, *arguments = sys.argv[1:] or ['--help']
    if name in ('-h', '--help', 'help'):
        print(help_page())
        return
    if name == '--version':
        from mae_plugin import __version__

        print(__version__)
        return
    try:
        if name == completion.ASKED:
            print('\n'.join(completion.candidates(arguments, COMMANDS)))
            return
        if name not in COMMANDS:
            raise UserError(f"no command '{name}': `mae-plugin --help` lists all")
        run = COMMANDS[name].run
        if callable(run):
            sys.argv = [f'mae-plugin {name}', *arguments]
            run(arguments)
            return
        tool = load_tool(run)
    except UserError as error:
        sys.exit(_told(error))
    sys.argv = [f'mae-plugin {name}', *arguments]
    sys.exit(tool.main())


def help_page() -> str:
    """All commands, one line each."""
    lines = ['usage: mae-plugin COMMAND ...', '']
    for group, commands in GROUPS.items():
        lines.append(f'{group}:')
        lines += [f'  {name:16} {command.summary}' for name, command in commands.items()]
        lines.append('')
    lines += [
        '`mae-plugin COMMAND --help` tells its options. A CONFIG is a file, or a name from',
        '`mae-plugin configs`. On several GPUs of a machine:',
        '  torchrun --nproc-per-node 8 -m mae_plugin train CONFIG --launcher pytorch',
    ]
    return '\n'.join(lines)


def _told(error: UserError) -> int:
    print(f'error: {error}', file=sys.stderr)
    return 2


if __name__ == '__main__':
    main()
