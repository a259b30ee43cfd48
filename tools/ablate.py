"""Run whole tables of ablations on your data, and write them beside the paper's numbers.

Each row of a table is a file of configs/ablations/TABLE/, or of a folder of your own. It is
pretrained on DATA/train (labels unused) with every seed, then its frozen features are scored on
DATA/train and DATA/val, folders with one sub-folder for each class, by kNN and by a quick linear
probe. Runs that tables share are done once, finished runs are kept in OUT/results.jsonl and never
repeated: interrupt and start again as you like.

    python tools/make_class_folders.py --out data/classes
    python tools/ablate.py mask-ratio decoder-depth --data-root data/classes --jobs 2
    python tools/ablate.py mask-ratio --rows '*30' '*50' '*75' --seeds 0 --data-root DIR
    python tools/ablate.py schedule --scale full --data-root data/imagenet     # the paper's sizes

Writes OUT/TABLE.md, TABLE.csv and TABLE.png after every run.
"""

import argparse
import fnmatch
import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / 'tools')]

from ablation.results import Results, Row, draw, markdown, write_csv  # noqa: E402
from ablation.scales import SCALES, shrink  # noqa: E402

from mae_plugin.cli.run_config import parse_value, set_data_root, user_errors  # noqa: E402
from mae_plugin.errors import UserError  # noqa: E402

TABLES = ROOT / 'configs/ablations'
ONE_RUN = ROOT / 'tools/ablation/one_run.py'


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line, with the tables checked and ``command`` as it was given."""
    argv = sys.argv[1:] if argv is None else argv
    tables = sorted(path.name for path in TABLES.iterdir() if any(path.glob('*.py')))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'tables',
        nargs='+',
        metavar='TABLE',
        help=f'any of {", ".join(tables)}, or folders of your own row files',
    )
    parser.add_argument('--data-root', required=True, metavar='DIR', help='holds train/ and val/')
    parser.add_argument('--out', type=Path, help='default: work_dirs/ablations/SCALE')
    parser.add_argument('--scale', choices=[*SCALES, 'full'], default='tiny')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--rows', nargs='+', default=['*'], help='patterns of row files to run')
    parser.add_argument('--jobs', type=int, default=1, help='runs at a time')
    parser.add_argument('--pool', choices=['avg', 'cls'], default='avg', help='feature to probe')
    parser.add_argument('--max-train', type=int, default=5000, help='images the probes learn from')
    parser.add_argument('--max-val', type=int, default=5000, help='images the probes test on')
    parser.add_argument(
        '--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='change every row'
    )
    args = parser.parse_args(argv)
    folders = {Path(table).name: _folder(table) for table in args.tables}
    unknown = sorted(name for name, folder in folders.items() if not any(folder.glob('*.py')))
    if unknown:
        parser.error(
            f'no table {", ".join(unknown)}; there are {", ".join(tables)}; a table of your own '
            'is a folder of configs, each a delta of configs/ablations/default.py, and is named '
            'by its path'
        )
    if len(folders) < len(set(args.tables)):
        parser.error("two tables of one name: the folders' names are those of the results")
    args.tables = folders
    args.command = shlex.join(['python', 'tools/ablate.py', *argv])
    args.data_root = os.path.normpath(args.data_root)  # a slash at the end makes no other run
    args.out = args.out or Path('work_dirs/ablations') / args.scale
    return args


def _folder(table: str) -> Path:
    """Where a table's rows lie: one of ours by its name, or a folder by its path."""
    return Path(table) if os.sep in table or not (TABLES / table).is_dir() else TABLES / table


def natural(path: Path) -> list:
    """Sort key that puts 2 before 10."""
    return [int(part) if part.isdigit() else part for part in re.split(r'(\d+)', path.stem)]


def load_row(path: Path, args: argparse.Namespace) -> tuple[Row, dict]:
    """A row's label and its spec: the ``config`` and ``probe`` of all its runs.

    Raises:
        UserError: If an option is not KEY=VALUE.
    """
    from mmengine.config import Config

    cfg = Config.fromfile(str(path))
    label = dict(row=path.stem, paper={}) | (cfg.pop('ablation', None) or {})
    set_data_root(cfg, args.data_root)
    config = cfg.to_dict()
    if args.scale != 'full':
        config = shrink(config, SCALES[args.scale])
    options = {}
    for option in args.cfg_options:
        key, equals, value = option.partition('=')
        if not equals:
            raise UserError(f"--cfg-options '{option}' is not KEY=VALUE")
        options[key] = parse_value(value)
    cfg = Config(config)
    cfg.merge_from_dict(options)
    probe = dict(
        train=str(Path(args.data_root) / 'train'),
        val=str(Path(args.data_root) / 'val'),
        size=cfg.model.backbone.img_size,
        pool=args.pool,
        max_train=args.max_train,
        max_val=args.max_val,
    )
    spec = dict(config=cfg.to_dict(), probe=probe)
    return Row(path.parent.name, label['row'], dict(label['paper']), digest(spec)), spec


def digest(spec: dict) -> str:
    """What tells runs apart: the same settings give the same digest."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]


def load_tables(args: argparse.Namespace) -> tuple[dict[str, list[Row]], dict[str, dict]]:
    """All rows by table, and the specs of all runs by key.

    Every table ends with the same row of random weights: what pretraining must beat.

    Raises:
        UserError: If the data is missing, or no row matches.
    """
    for split in ('train', 'val'):
        if not (Path(args.data_root) / split).is_dir():
            raise UserError(
                f'--data-root {args.data_root} has no folder {split}/ with one sub-folder for '
                'each class; tools/make_class_folders.py composes a small one'
            )
    tables, specs = {}, {}
    for table, folder in args.tables.items():
        rows = []
        for path in sorted(folder.glob('*.py'), key=natural):
            if any(fnmatch.fnmatch(path.stem, pattern) for pattern in args.rows):
                row, spec = load_row(path, args)
                rows.append(row)
                specs[row.key] = spec
        if not rows:
            raise UserError(f'no row of table {table} matches --rows {" ".join(args.rows)}')
        tables[table] = rows
    _, spec = load_row(sorted((TABLES / 'mask-ratio').glob('*75.py'))[0], args)
    spec['config']['pretrain'] = False
    random_weights = Row('', 'random weights', {}, digest(spec))
    specs[random_weights.key] = spec
    for rows in tables.values():
        rows.append(random_weights)
    return tables, specs


def report(tables: dict[str, list[Row]], results: Results, args: argparse.Namespace) -> None:
    """Write every table as Markdown, CSV and picture."""
    for table, rows in tables.items():
        text = f'# {table}\n\n`{args.command}`\n\n'
        text += markdown(rows, results, args.seeds) + f'\n![{table}]({table}.png)\n'
        (args.out / f'{table}.md').write_text(text)
        write_csv(args.out / f'{table}.csv', rows, results, args.seeds)
        draw(args.out / f'{table}.png', rows, results, args.seeds, table)


def start(folder: Path, spec: dict, seed: int, jobs: int) -> subprocess.Popen:
    """Start one run; its output goes to ``log.txt`` in its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'spec.json').write_text(json.dumps(dict(spec, seed=seed)))
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    with open(folder / 'log.txt', 'w') as log:
        return subprocess.Popen(
            [sys.executable, str(ONE_RUN), str(folder)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={'OMP_NUM_THREADS': threads, **os.environ},
        )


def run_folder(out: Path, key: str, seed: int) -> Path:
    """Where a run writes."""
    return out / 'runs' / f'{key}-{seed}'


def finished(out: Path, key: str, seed: int, spec: dict) -> dict | None:
    """The result of a run that ended after whoever started it was stopped."""
    folder = run_folder(out, key, seed)
    try:
        if json.loads((folder / 'spec.json').read_text()) == json.loads(
            json.dumps(dict(spec, seed=seed))
        ):
            return json.loads((folder / 'result.json').read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        pass
    return None


def run_all(
    todo: list[tuple[str, int]],
    specs: dict[str, dict],
    names: dict[str, str],
    args: argparse.Namespace,
    keep,
) -> list[str]:
    """Do the runs, ``jobs`` at a time, and hand each result to ``keep``; names the failed ones."""
    waiting, failed = list(todo), []
    running: dict[tuple[str, int], tuple[Path, subprocess.Popen]] = {}
    began, done = time.time(), 0
    try:
        while waiting or running:
            while waiting and len(running) < args.jobs:
                key, seed = waiting.pop(0)
                folder = run_folder(args.out, key, seed)
                running[key, seed] = folder, start(folder, specs[key], seed, args.jobs)
            time.sleep(0.2)
            for (key, seed), (folder, process) in list(running.items()):
                if process.poll() is None:
                    continue
                del running[key, seed]
                done += 1
                name = f'{names[key]}, seed {seed}'
                if process.returncode:
                    failed.append(f'{name}: see {folder}/log.txt')
                    print(f'failed: {failed[-1]}', flush=True)
                    continue
                result = json.loads((folder / 'result.json').read_text())
                keep(dict(key=key, seed=seed, row=names[key], **result))
                left = (time.time() - began) / done * (len(todo) - done) / 60
                scores = f'kNN {result["knn"]:.1f}, linear {result["linear"]:.1f}'
                print(f'[{done}/{len(todo)}] {name}: {scores}; {left:.0f} min left', flush=True)
    finally:
        for _, process in running.values():
            process.terminate()
    return failed


def main(argv: list[str] | None = None) -> int:
    """Do what is left of the tables; returns the exit status."""
    args = parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit('stopped'))
    with user_errors():
        tables, specs = load_tables(args)
    results = Results(args.out / 'results.jsonl')
    every_row = [row for rows in tables.values() for row in rows]
    names = {row.key: f'{row.table} {row.name}'.strip() for row in every_row}
    wanted = [(key, seed) for seed in args.seeds for key in names]
    for key, seed in wanted:
        if (key, seed) not in results and (result := finished(args.out, key, seed, specs[key])):
            results.add(dict(key=key, seed=seed, row=names[key], **result))
    todo = [run for run in wanted if run not in results]
    print(f'{len(wanted)} runs, {len(wanted) - len(todo)} of them finished before', flush=True)

    def keep(result: dict) -> None:
        results.add(result)
        report(tables, results, args)

    try:
        failed = run_all(todo, specs, names, args, keep)
    except KeyboardInterrupt:
        print('interrupted; the same command goes on with the runs that are left')
        return 130
    args.out.mkdir(parents=True, exist_ok=True)
    report(tables, results, args)
    for table in tables:
        print((args.out / f'{table}.md').read_text())
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
