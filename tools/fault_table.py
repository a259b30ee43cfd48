"""Inject every fault that a long run may meet, and write what happened as a table.

Each row is a test of ``tests/``: a real run, a real fault, and the demand that what comes out
equals the run that nothing happened to. What mmpretrain's pipeline does with the same broken
images stands below, where it is installed.

Example:
    python tools/fault_table.py --kills 20 --out configs/pretrain/scale_out/faults.md
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

REPO = Path(__file__).resolve().parents[1]

# (fault, what must hold, file of the test, its name; all of its parameters count)
_SAME = 'ends with the same weights, optimizer and log, bit for bit'
ROWS = [
    ('SIGKILL at random times', _SAME, 'engine/test_faults.py', 'test_sigkill_at_random_times'),
    (
        'SIGKILL while a checkpoint is written',
        f'the half file is ignored; {_SAME}',
        'engine/test_faults.py',
        'test_sigkill_while_a_checkpoint_is_written',
    ),
    ('SIGTERM', f'saves, exits with 143; {_SAME}', 'engine/test_faults.py', 'test_sigterm'),
    (
        'SIGTERM to every data worker too, SIGINT',
        f'saves, exits with 143 or 130; {_SAME}',
        'engine/test_guards.py',
        'test_a_signal_saves_leaves_with_its_status_and_goes_on_exactly',
    ),
    (
        'truncated newest checkpoint',
        f'says so, takes the one before; {_SAME}',
        'engine/test_faults.py',
        'test_truncated_newest_checkpoint',
    ),
    (
        'one flipped bit in a checkpoint',
        'found by its checksum',
        'engine/test_checkpoint.py',
        'test_one_flipped_bit_is_found',
    ),
    (
        'full disk',
        f'stops with the last good one intact; with room, {_SAME}',
        'engine/test_faults.py',
        'test_full_disk',
    ),
    (
        '12 kinds of broken images, 1%',
        'each listed once and replaced; the run ends as planned',
        'engine/test_faults.py',
        'test_broken_images_among_good_ones',
    ),
    (
        'a file deleted during the run',
        'listed and replaced',
        'engine/test_faults.py',
        'test_a_file_deleted_during_the_run',
    ),
    (
        'a worker killed; a worker that hangs',
        f'replaced, its file named; {_SAME}',
        'engine/test_guards.py',
        'test_a_lost_worker_is_replaced_and_changes_nothing',
    ),
    (
        'a worker that dies on the same file again and again',
        'stops and names the file',
        'engine/test_guards.py',
        'test_workers_that_keep_dying_stop_the_run_with_the_file',
    ),
    (
        'NaN in the loss, infinity in the loss, NaN in the gradients',
        'step skipped, counted, images listed; weights equal a loop that leaves the step out',
        'engine/test_guards.py',
        'test_a_non_finite_step_is_skipped_and_told',
    ),
    (
        'NaN in every step',
        'stops after n in a row with the weights from before',
        'engine/test_guards.py',
        'test_non_finite_steps_in_a_row_stop_the_run_with_good_weights',
    ),
    (
        'NaN on one of two processes',
        'both skip the same step',
        'engine/test_distributed.py',
        'test_a_nan_on_one_process_is_skipped_by_both',
    ),
    (
        'SIGTERM to one of two processes',
        f'both save and leave together; {_SAME}',
        'engine/test_distributed.py',
        'test_a_signal_to_one_process_ends_all_and_each_gets_its_random_state_back',
    ),
    (
        'one of two machines killed and started again',
        'the run goes on from the last checkpoint to the right end',
        'engine/test_distributed.py',
        'test_a_lost_machine_comes_back_and_the_run_ends_right',
    ),
    (
        'malicious pickles as checkpoints',
        'refused by name, nothing executed',
        'test_safe_load.py',
        'test_hostile_pickles_are_refused_by_name',
    ),
    (
        "a chain of getattr, which mmengine's allow-list lets through",
        'refused, nothing executed',
        'test_safe_load.py',
        'test_getattr_chain_runs_under_pickle_and_not_here',
    ),
    (
        'tar members such as ../x',
        'refused, nothing written',
        'datasets/test_shards.py',
        'test_members_that_point_outside_are_refused',
    ),
]


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
        held = [case.find('failure') is None and case.find('error') is None for case in cases]
        seen = [
            str(item.get('value'))
            for case in cases
            for item in case.iter('property')
            if item.get('name') == 'evidence'
        ]
        verdict = f'{sum(held)} of {len(held)}' if held else 'not run'
        lines.append(f'| {fault} | {demand} | {verdict} | {"; ".join(seen)} |')
    return lines


def write_peer(scratch: Path) -> list[str]:
    """What mmpretrain's pipeline and ours do with each broken image, as Markdown."""
    sys.path[:0] = [str(REPO), str(REPO / 'tests' / 'datasets')]
    from mae_plugin.torchvision_compat import keep_torchvision_importable

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
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            load(argument)
    except Exception as error:
        if type(error).__name__ == 'TooManyBadImages':
            return 'counted, listed, replaced'
        return f'the run dies: {type(error).__name__}'
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
        command = f'python tools/fault_table.py --kills {args.kills}'
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
