"""The page of results, ``tools/dev/environments.md``."""

import html

from matrix.rows import ENVIRONMENTS


def table(results: dict) -> str:
    """The page, from what ``environments.json`` holds."""
    lines = [
        '# Environments',
        '',
        'Written by `tools/dev/environments.py NAME`, which builds each from nothing. Minutes: to '
        'build, and of the tests.',
        '',
        '| name | Python | torch | OpenMMLab | passed | failed | skipped | minutes | GB |',
        '|---|---|---|---|---|---|---|---|---|',
    ]
    for name, environment in ENVIRONMENTS.items():
        row = results.get(name, {})
        tests, minutes = row.get('tests'), row.get('minutes', {})
        shown = [str(tests.get(k, 0)) for k in ('passed', 'failed', 'skipped')] if tests else None
        hosts = ', '.join((environment.mmcv, *environment.hosts)).replace('==', ' ')
        cells = [
            *(name, environment.python, environment.torch[0].partition('==')[2], hosts),
            *(shown or ['not run', '', '']),
            f'{minutes.get("build", "–")}, {minutes.get("test", "–")}',
            str(row.get('gigabytes', '–')),
        ]
        lines.append(f'| {" | ".join(cells)} |')
    for name, environment in ENVIRONMENTS.items():
        row = results.get(name, {})
        notes = [note for note in (environment.note, row.get('note')) if note]
        notes += [f'fails: {test}' for test in row.get('failed', [])]
        notes += [f'skipped ({count}): {why}' for why, count in row.get('skips', {}).items()]
        notes += [f'extra `{extra}`: {what}' for extra, what in row.get('extras', {}).items()]
        parts = [*_journey(row), *_broken(row)]
        if notes or parts:
            lines += ['', f'## {name}', '', *(f'- {note}' for note in notes), *parts]
    return '\n'.join(lines) + '\n'


def summary(results: dict) -> str:
    """The short table of ``docs/installation.md``."""
    lines = [
        '| name | Python | torch | OpenMMLab | tests: passed, failed, skipped |',
        '|---|---|---|---|---|',
    ]
    for name, environment in ENVIRONMENTS.items():
        tests = results.get(name, {}).get('tests')
        counts = (
            [str(tests.get(kind, 0)) for kind in ('passed', 'failed', 'skipped')] if tests else ()
        )
        torch = environment.torch[0].partition('==')[2]
        cells = (
            name,
            environment.python,
            torch,
            environment.summary,
            ', '.join(counts) or 'not run',
        )
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines) + '\n'


def _journey(row: dict) -> list[str]:
    steps = row.get('journey')
    if not steps:
        return []
    return [
        '',
        'From an empty folder, without the clone (`--stages journey`):',
        '',
        '| step | command | seconds | |',
        '|---|---|---|---|',
        *(
            f'| {step["name"]} | {_code(step["command"])} | {step["seconds"]} | {step["told"]} |'
            for step in steps
        ),
    ]


def _broken(row: dict) -> list[str]:
    cases = row.get('broken')
    if not cases:
        return []
    return [
        '',
        'Broken on purpose; what `mae-plugin doctor` says, and what its command does '
        '(`--stages broken`):',
        '',
        '| broken by | says | command | then |',
        '|---|---|---|---|',
        *(
            f'| {case["name"]} | {_cell(case["says"])} | {_code(case["command"])} | '
            f'{_cell(case["then"])} |'
            for case in cases
        ),
    ]


def _code(text: str) -> str:
    # Not in backticks: tests of pages run such commands, of other packages and of a user's files.
    return f'<code>{html.escape(_cell(text), quote=False)}</code>' if text else ''


def _cell(text: str) -> str:
    return text.replace('|', '\\|')
