"""The fault table counts what was tested, and its rows exist."""

import re
import sys
from pathlib import Path
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).parents[2] / 'tools' / 'dev'))
from fault_rows import ROWS
from fault_table import write_rows

TESTS = Path(__file__).parents[1]


def case(inside=''):
    return ElementTree.fromstring(f'<testcase>{inside}</testcase>')


def test_every_row_has_its_test():
    missing = [
        (file, name)
        for _, _, file, name in ROWS
        if not re.search(rf'^def {name}\(', (TESTS / file).read_text(), re.MULTILINE)
    ]
    assert not missing


def test_skipped_tests_do_not_count_as_held():
    names = [name for *_, name in ROWS[:4]]
    evidence = '<properties><property name="evidence" value="3 kills"/></properties>'
    found = {
        names[0]: [case(evidence), case('<failure/>'), case('<skipped/>')],
        names[1]: [case('<skipped/>')],
        names[2]: [case('<error/>'), case()],
    }
    verdicts = [line.split(' | ')[2:] for line in write_rows(found)[2:6]]
    assert verdicts == [
        ['1 of 2, 1 skipped', '3 kills |'],
        ['not run, 1 skipped', ' |'],
        ['1 of 2', ' |'],
        ['not run', ' |'],
    ]
