"""Each stage as a process that is ended at its limit, and the summary after every one of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .stages import LEAST_SECONDS, Stage
from .summary import Outcome, Summary

SCRIPT = Path(__file__).resolve().parents[1] / 'gpu_check.py'
# The summary is written again so often while a stage runs, with the tables it has so far.
INTERVAL = 5.0


@dataclass
class Supervisor:
    """Runs stages one after the other.

    Attributes:
        out: Folder of the summary and the log.
        budget: Seconds for all stages together.
        dry: Whether to run on the CPU at tiny size.
        arguments: Passed on to each stage.
    """

    out: Path
    budget: float
    dry: bool = False
    arguments: Sequence[str] = ()

    def run(self, stages: Sequence[Stage]) -> bool:
        """Run the stages; whether every one came to its end."""
        summary = Summary(self.out, stages, self.dry)
        summary.write()
        start = time.monotonic()
        with tempfile.TemporaryDirectory(prefix='gpu-check-') as folder:
            for stage in stages:
                left = self.budget - (time.monotonic() - start)
                outcome = summary.outcomes[stage.name]
                if left < LEAST_SECONDS:
                    outcome.status = f'not run: {self.budget:.0f} s are spent'
                    print(f'{stage.name}: {outcome.status}', flush=True)
                else:
                    # A dry run may be on a machine that has other things to do.
                    outcome.limit = left if self.dry else min(stage.seconds, left)
                    self._run_stage(stage, outcome, Path(folder) / stage.name, summary)
                summary.write()
        return all(outcome.is_done for outcome in summary.outcomes.values())

    def _run_stage(self, stage: Stage, outcome: Outcome, folder: Path, summary: Summary) -> None:
        (folder / 'scratch').mkdir(parents=True)
        outcome.record = folder / 'record.json'
        command = [sys.executable, str(SCRIPT), '--run-stage', stage.name]
        command += ['--record', str(outcome.record), '--seconds', str(outcome.limit)]
        command += ['--dry'] * self.dry + list(self.arguments)
        outcome.status = 'running'
        print(f'{stage.name}: at most {outcome.limit:.0f} s', flush=True)
        start = time.monotonic()
        with open(self.out / 'gpu_check.log', 'ab') as log:
            log.write(f'\n== {stage.name}\n'.encode())
            log.flush()
            # A session of its own, so that its data workers and launched runs end with it.
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=SCRIPT.parents[2],
                start_new_session=True,
            )
            try:
                while True:
                    outcome.seconds = time.monotonic() - start
                    left = outcome.limit - outcome.seconds
                    if left <= 0:
                        outcome.status = f'ended at its limit of {outcome.limit:.0f} s'
                        break
                    try:
                        code = process.wait(min(INTERVAL, left))
                    except subprocess.TimeoutExpired:
                        summary.write()
                        continue
                    outcome.status = (
                        'done' if code == 0 else f'failed: exit status {code}, see log'
                    )
                    break
            finally:
                _end(process)
        outcome.seconds = time.monotonic() - start
        outcome.read()
        print(f'{stage.name}: {outcome.status} after {outcome.seconds:.0f} s', flush=True)


def _end(process: subprocess.Popen) -> None:
    """Kill a stage and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
