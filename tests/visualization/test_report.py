"""The report: what a run logged, on one page that needs nothing else."""

import json
import re

import cv2
import numpy as np
import pytest

from mae_plugin.visualization.charts import line_chart
from mae_plugin.visualization.report import MAX_PICTURES, write_report
from mae_plugin.visualization.run_history import read_run


def write_part(work_dir, name, steps, loss, pictures=(), probes=()):
    """A part of a run, as mmengine's visualizer leaves it."""
    folder = work_dir / name / 'vis_data'
    (folder / 'vis_image').mkdir(parents=True)
    lines = [
        dict(loss=loss, lr=1e-3, time=0.5, data_time=0.1, epoch=step // 10, iter=step, step=step)
        for step in steps
    ]
    lines += [{'probe/knn': 12.5, 'probe/linear': value, 'step': step} for step, value in probes]
    text = ''.join(json.dumps(line) + '\n' for line in lines) + '{"loss": 0.1, "st'  # cut off
    (folder / 'scalars.json').write_text(text)
    (folder / 'config.py').write_text("train_dataloader = dict(batch_size=8)\nname = '<&>'\n")
    for step in pictures:
        picture = np.full((8, 32, 3), step % 256, np.uint8)
        cv2.imwrite(str(folder / 'vis_image' / f'reconstruction_{step}.png'), picture)


@pytest.fixture
def run(tmp_path):
    """An interrupted run and its continuation, which repeats iteration 20."""
    write_part(tmp_path, '20260101_000000', (10, 20), loss=2.0, pictures=(10, 20))
    write_part(
        tmp_path, '20260101_010000', (20, 30), 1.0, pictures=range(20, 300, 10),
        probes=[(20, 40.0), (30, 41.25)],
    )  # fmt: skip
    return tmp_path


def test_a_resumed_runs_later_values_count(run):
    history = read_run(run)
    assert history.scalars['loss'] == [(10, 2.0), (20, 1.0), (30, 1.0)]
    assert history.scalars['probe/linear'] == [(20, 40.0), (30, 41.25)]
    assert history.epochs == 3
    assert '010000' in str(history.pictures[20])


def test_the_page_shows_everything_and_loads_nothing(run):
    page = write_report(run).read_text()
    assert page.startswith('<!DOCTYPE html>') and page.rstrip().endswith('</html>')
    for text in (
        '41.2%',
        '16',
        'Learning rate',
        'Frozen features',
        'iteration 290',
        '&lt;&amp;&gt;',
    ):
        assert text in page
    assert len(re.findall('<img ', page)) == MAX_PICTURES
    # The newest picture comes first.
    steps = [int(step) for step in re.findall(r'reconstructions at iteration (\d+)', page)]
    assert steps == sorted(steps, reverse=True) and steps[0] == 290 and steps[-1] == 10
    links = re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?([^"\')>\s]{1,40})', page)
    assert links and all(link.startswith(('data:image/jpeg;base64,', '#')) for link in links)
    assert '<script' not in page


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match='no logged values'):
        write_report(tmp_path)


def test_a_chart_places_points_and_leaves_out_what_is_not_finite():
    chart = line_chart('Loss', {'loss': [(0, 1.0), (5, float('nan')), (10, 3.0)]})
    assert chart.svg.startswith('<svg') and chart.lost == 1
    paths = re.findall(
        r'<path d="M ([\d.]+) ([\d.]+) \nL ([\d.]+) ([\d.]+) \n"[^>]*#3b82f6', chart.svg
    )
    ((x0, y0, x1, y1),) = [tuple(map(float, path)) for path in paths]
    assert x0 < x1 and y0 > y1  # rising values go up
    assert line_chart('Nothing', {'loss': [(0, float('inf'))]}) is None
    one = line_chart('One', {'loss': [(3, 2.0)]})
    assert one.svg.count('<use') >= 1 and one.lost == 0


def test_charts_of_one_page_share_no_ids():
    pages = [line_chart(title, {'a': [(0, 1), (1, 2)]}).svg for title in ('Loss', 'Rate')]
    first, second = (set(re.findall(r'id="(m\w+|p\w{8,})"', svg)) for svg in pages)
    assert first and second and not first & second


@pytest.mark.parametrize('hook', [True, False])
def test_the_learning_rate_is_that_in_use(tmp_path, hook):
    """mmengine's own base_lr leaves out what the batch scales; the hook's does not."""
    write_part(tmp_path, '20260101_000000', (10, 20), loss=1.0)
    folder = tmp_path / '20260101_000000/vis_data'
    lines = [dict(lr=1e-4, base_lr=2e-3, loss=1.0, step=step) for step in (10, 20)]
    (folder / 'scalars.json').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    hooks = "[dict(type='mae_plugin.ScheduleHook')]" if hook else '[]'
    (folder / 'config.py').write_text(f'custom_hooks = {hooks}\n')
    page = write_report(tmp_path).read_text()
    assert ('highest lr (head)' in page) == hook
