"""What one stage found, on disk after every table: a stage that is cut off still counts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import Stat, number

from mae_plugin.files import atomic_write

# Headings of tables that are no measurement.
DRY = 'dry run, not a measurement'
Row = Mapping[str, Any]


class Record:
    """Tables, notes and goals of one stage.

    Args:
        path: JSON file; written after every change.
        dry: Whether this is a dry run: said in every table.
    """

    def __init__(self, path: Path, dry: bool = False) -> None:
        self.path = path
        self.dry = dry
        self.tables: dict[str, list[dict[str, Any]]] = {}
        self.notes: list[str] = []
        self.goals: list[dict[str, Any]] = []

    def table(self, name: str, rows: Sequence[Row]) -> None:
        """Add a table, or replace the one of that name."""
        heading = f'{name} ({DRY})' if self.dry else name
        self.tables[heading] = [dict(row) for row in rows]
        self.save()

    def note(self, text: str) -> None:
        """Add a line under the tables."""
        self.notes.append(text)
        self.save()

    def goal(self, name: str, value: Any, wanted: str, met: bool) -> None:
        """Add a goal, and whether it is met; a dry run cannot say."""
        verdict = DRY if self.dry else 'met' if met else 'MISSED'
        self.goals.append(dict(goal=name, found=cell(value), wanted=wanted, verdict=verdict))
        self.save()

    def save(self) -> None:
        """Write all of it."""
        content = dict(goals=self.goals, tables=self.tables, notes=self.notes)
        text = json.dumps(content, indent=1, default=_encode)
        atomic_write(self.path, text.encode())


def markdown_table(rows: Sequence[Row]) -> list[str]:
    """Lines of a table; columns are the rows' keys, in the order of their first use."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = ['| ' + ' | '.join(columns) + ' |', '|' + '---|' * len(columns)]
    for row in rows:
        cells = (cell(row.get(column, '')) for column in columns)
        lines.append('| ' + ' | '.join(text.replace('|', '/') for text in cells) + ' |')
    return lines


def cell(value: Any) -> str:
    """A value as a table shows it: three digits of a number, median and quartiles of many."""
    if isinstance(value, dict) and 'median' in value:  # a Stat that was read back
        value = Stat(value['values'])
    if isinstance(value, float):
        return f'{value:.1e}' if 0 < abs(value) < 1e-3 else number(value)
    return str(value)


def _encode(value: Any) -> Any:
    return value.to_json() if isinstance(value, Stat) else str(value)
