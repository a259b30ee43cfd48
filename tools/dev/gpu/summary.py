"""The results of all stages so far, as JSON and Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mae_plugin.files import atomic_write

from .environment import facts, libraries
from .record import DRY, markdown_table
from .stages import Stage

NOT_MEASURED = 'not measured'


@dataclass
class Outcome:
    """How one stage ended, and what it found.

    Attributes:
        status: 'done', 'running', or why there is nothing or not all.
        limit: Seconds it had.
        seconds: Seconds it took.
        record: File that it writes its record to.
        found: The record's content: goals, tables, notes.
    """

    status: str = NOT_MEASURED
    limit: float = 0.0
    seconds: float = 0.0
    record: Path | None = None
    found: dict[str, Any] = field(default_factory=dict)

    @property
    def is_done(self) -> bool:
        """Whether the stage came to its end."""
        return self.status == 'done'

    def read(self) -> None:
        """Take over what the stage has written so far."""
        if self.record is not None and self.record.exists():
            self.found = json.loads(self.record.read_text(encoding='utf-8'))


class Summary:
    """The whole check's report.

    Args:
        out: Folder for ``gpu_check.json`` and ``gpu_check.md``.
        stages: The stages that are to run, in order.
        dry: Whether this is a dry run.
    """

    def __init__(self, out: Path, stages: Sequence[Stage], dry: bool) -> None:
        self.out = out
        self.stages = stages
        self.dry = dry
        self.outcomes = {stage.name: Outcome() for stage in stages}
        self.facts = facts()
        self.libraries = libraries()

    def write(self) -> None:
        """Write both files, each whole or not at all."""
        for outcome in self.outcomes.values():
            outcome.read()
        atomic_write(self.out / 'gpu_check.md', self.markdown().encode())
        content = dict(
            dry_run=self.dry,
            facts=self.facts,
            libraries=self.libraries,
            stages=[
                dict(
                    name=stage.name,
                    title=stage.title,
                    status=outcome.status,
                    seconds=round(outcome.seconds, 1),
                    limit=round(outcome.limit, 1),
                    **outcome.found,
                )
                for stage, outcome in zip(self.stages, self.outcomes.values(), strict=True)
            ],
        )
        atomic_write(self.out / 'gpu_check.json', json.dumps(content, indent=1).encode())

    def markdown(self) -> str:
        """The report for people."""
        lines = ['# GPU check', '']
        if self.dry:
            lines += [f'**{DRY}**: every number comes from tiny models on a CPU.', '']
        lines += [', '.join(f'{key}: {value}' for key, value in self.facts.items()), '']
        lines += markdown_table(
            [
                {
                    'stage': stage.title,
                    'status': outcome.status,
                    'seconds': f'{outcome.seconds:.0f} of {outcome.limit:.0f}',
                    'shows': stage.shows,
                }
                for stage, outcome in zip(self.stages, self.outcomes.values(), strict=True)
            ]
        )
        lines += ['', '## Libraries', '', *markdown_table(self.libraries)]
        goals = [
            dict(stage=stage.title, **goal)
            for stage, outcome in zip(self.stages, self.outcomes.values(), strict=True)
            for goal in outcome.found.get('goals', [])
        ]
        if goals:
            lines += ['', '## Goals', '', *markdown_table(goals)]
        for stage in self.stages:
            lines += self._stage(stage, self.outcomes[stage.name])
        return '\n'.join(lines) + '\n'

    def _stage(self, stage: Stage, outcome: Outcome) -> list[str]:
        lines = ['', f'## {stage.title}', '']
        if not outcome.is_done:
            lines += [f'**{outcome.status}**', '']
        for name, rows in outcome.found.get('tables', {}).items():
            lines += [f'### {name}', '', *markdown_table(rows), '']
        return lines + [f'- {note}' for note in outcome.found.get('notes', [])]
