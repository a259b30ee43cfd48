"""Inject every fault that a long run may meet, and write what happened as a table.

Each row is a test of ``tests/``: a real run, a real fault, and the demand that what comes out
equals the run that nothing happened to. What mmpretrain's pipeline does with the same broken
images stands below, where it is installed.

Example:
    python tools/dev/fault_table.py --kills 20 --out configs/pretrain/scale_out/faults.md
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
import warnings
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from xml.etree import ElementTree

from fault_rows import ROWS

REPO = Path(__file__).resolve().parents[2]


def run_tests(kills: int, scratch: Path) -> dict[str, list[ElementTree.Element]]:
    """Run the tests of all rows; returns their results by name, one for each parameter."""
    report = scratch / 'report.xml'
    tests = [f'tests/{file}::{name}' for _, _, file, name in ROWS]
    command = [
        sys.executable,
        '-m',
        'pytest',
        '-q',
        '-o',
        'junit_family=legacy',
        f'--junitxml={report}',
    ]
    environment = dict(os.environ, FAULT_KILLS=str(kills))
    subprocess.run(
        [*command, f'--basetemp={scratch}/runs', *tests], cwd=REPO, env=environment, check=False
    )
    found: dict[str, list[ElementTree.Element]] = {}
    for case in ElementTree.parse(report).iter('testcase'):
        found.setdefault(case.get('name', '').split('[')[0], []).append(case)
    return found


def write_rows(found: dict[str, list[ElementTree.Element]]) -> list[str]:
    """The table of our own runs, as Markdown."""
    lines = ['| fault | what must hold | held | seen |', '|---|---|---|---|']
    for fault, demand, _, name in ROWS:
        cases = found.get(name, [])
        ran = [case for case in cases if case.find('skipped') is None]
        held = [case.find('failure') is None and case.find('error') is None for case in ran]
        seen = [
            str(item.get('value'))
            for case in cases
            for item in case.iter('property')
            if item.get('name') == 'evidence'
        ]
        verdict = f'{sum(held)} of {len(held)}' if held else 'not run'
        if len(cases) > len(ran):
            verdict += f', {len(cases) - len(ran)} skipped'
        lines.append(f'| {fault} | {demand} | {verdict} | {"; ".join(seen)} |')
    return lines


def write_peer(scratch: Path) -> list[str]:
    """What mmpretrain's pipeline and ours do with each broken image, as Markdown."""
    sys.path[:0] = [str(REPO), str(REPO / 'tests' / 'datasets')]
    from mae_plugin.cli.torchvision_compat import keep_torchvision_importable

    keep_torchvision_importable()
    from broken_images import write_broken_images
    from mmcv.transforms import Compose
    from mmengine.registry import init_default_scope
    from mmpretrain.registry import TRANSFORMS
    from mmpretrain.utils import register_all_modules

    from mae_plugin.datasets import ImageFolder

    register_all_modules()
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='RandomResizedCrop', scale=64, backend='pillow', interpolation='bicubic'),
        dict(type='PackInputs'),
    ]
    init_default_scope('mmpretrain')
    theirs = Compose([TRANSFORMS.build(step) for step in pipeline])
    init_default_scope('mae_plugin')
    lines = ['| image | mmpretrain | mae_plugin |', '|---|---|---|']
    for kind, path in write_broken_images(scratch / 'broken').items():
        folder = scratch / 'alone' / kind
        folder.mkdir(parents=True)
        (folder / path.name).symlink_to(path)
        ours = ImageFolder(
            str(folder),
            labels=False,
            index_cache=False,
            pipeline=[dict(type='LoadRandomResizedCrop', size=64), dict(type='PackInputs')],
            bad_images=dict(max_share=0, min_count=1),
        )
        answers = [_answer(theirs, dict(img_path=str(path))), _answer(ours.__getitem__, 0)]
        lines.append(f'| {kind.replace("_", " ")} | {answers[0]} | {answers[1]} |')
    return lines


def _answer(load, argument) -> str:
    """What loading an image does, in a few words."""
    from mae_plugin.datasets.bad_images import TooManyBadImages

    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            load(argument)
    except TooManyBadImages:
        return 'counted, listed, replaced'
    except Exception as error:
        return f'the run dies: {type(error).__qualname__}'
    return '**served as a good image**'


def main() -> None:
    """Run everything and write the page."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('--kills', type=int, default=20, help='SIGKILLs in the first row')
    parser.add_argument('--out', type=Path, help='Markdown file; printed if left out')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        found = run_tests(args.kills, scratch)
        command = f'python tools/dev/fault_table.py --kills {args.kills}'
        lines = ['# What happens when something breaks', '', f'Written by `{command}`.', '']
        lines += write_rows(found)
        if importlib.util.find_spec('mmpretrain') is not None:
            lines += ['', '## The same broken images through mmpretrain', '']
            lines += write_peer(scratch)
    text = '\n'.join(lines) + '\n'
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text)
    print(text)


if __name__ == '__main__':
    main()
