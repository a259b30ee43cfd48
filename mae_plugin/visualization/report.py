"""One self-contained HTML page about a run: curves, pictures over time, scores, configuration."""

import base64
from collections.abc import Mapping
from pathlib import Path

import cv2
from jinja2 import Environment, PackageLoader

from mae_plugin.checkpoint.stored_config import literal_config
from mae_plugin.files import atomic_write

from .charts import Chart, Points, line_chart
from .run_history import RunHistory, read_run
from .trends import verdict

MAX_PICTURES = 8
PICTURE_WIDTH = 1100  # pixels; larger ones are shrunk
PROBES = {'probe/knn': 'kNN', 'probe/linear': 'linear probe'}


def write_report(work_dir: str | Path, out: str | Path | None = None) -> Path:
    """Write the report of a run, ``report.html`` in its work dir by default; returns its path.

    Raises:
        UserError: If the folder holds no logged values.
    """
    out = Path(out or Path(work_dir) / 'report.html')
    page = render(read_run(work_dir), Path(work_dir).resolve().name)
    atomic_write(out, page.encode())
    return out


def render(run: RunHistory, name: str) -> str:
    """The page of a run as HTML; everything it shows is inside it."""
    images = _images_per_iteration(run.config)
    scores = {title: dict(run.scalars[key]) for key, title in PROBES.items() if key in run.scalars}
    pages = Environment(loader=PackageLoader('mae_plugin.visualization', '.'), autoescape=True)
    return pages.get_template('report.html.j2').render(
        name=name,
        facts=_facts(run, images),
        charts=_charts(run, images),
        verdict=verdict(run.scalars),
        pictures=_pictures(run),
        neighbours=run.neighbours and _embed(run.neighbours),
        scores=scores,
        score_steps=sorted(set().union(*scores.values())),
        config=run.config,
    )


def _images_per_iteration(config: str) -> int | None:
    """Batch size of one process, from the config's text; it is read, never run."""
    try:
        return literal_config(config)['train_dataloader']['batch_size']
    except (ValueError, KeyError, TypeError, SyntaxError):
        return None


def _facts(run: RunHistory, images: int | None) -> dict[str, str]:
    last = max((points[-1][0] for points in run.scalars.values()), default=0)
    facts = {'iterations': f'{last:,}', 'epochs': f'{run.epochs:,}'}
    loss = run.scalars.get('loss')
    if loss:
        facts['loss'] = f'{loss[-1][1]:.4g}'
    for key, title in PROBES.items():
        if key in run.scalars:
            facts[title] = f'{run.scalars[key][-1][1]:.1f}%'
    if 'probe/rank' in run.scalars:
        facts['effective rank'] = f'{run.scalars["probe/rank"][-1][1]:.1f}'
    times = sorted(value for _, value in run.scalars.get('time', []))
    if times:
        median = times[len(times) // 2]
        facts['per iteration'] = f'{median:.3g} s' if median >= 0.1 else f'{median * 1e3:.3g} ms'
        if images:
            facts['images/s per process'] = f'{images / median:.3g}'
    return facts


def _charts(run: RunHistory, images: int | None) -> list[Chart]:
    scalars = run.scalars
    charts: list[tuple[str, Mapping[str, Points]]] = [
        ('Loss', {key: points for key, points in scalars.items() if 'loss' in key}),
        (
            'Frozen features, top-1 (%)',
            {title: scalars[key] for key, title in PROBES.items() if key in scalars},
        ),
        ('Effective rank of frozen features', {'RankMe': scalars.get('probe/rank', [])}),
        ('Learning rate', _learning_rates(run)),
    ]
    if 'time' in scalars and images:
        rate = [(step, images / value) for step, value in scalars['time'] if value]
        charts.append(('Images per second and process', {'images/s': rate}))
    share = [(s, value) for s, value in scalars.get('data_time', [])]
    if share:
        parts = {'iteration': scalars.get('time', []), 'of which waiting for data': share}
        charts.append(('Seconds per iteration', parts))
    charts += [
        (title, {title: scalars[key]})
        for key, title in (('grad_norm', 'Gradient norm'), ('memory', 'GPU memory (MB)'))
        if key in scalars
    ]
    drawn = (line_chart(title, series) for title, series in charts)
    return [chart for chart in drawn if chart is not None]


def _learning_rates(run: RunHistory) -> dict[str, Points]:
    """The highest rate in use and, where that is another, the first parameter group's."""
    first, highest = run.scalars.get('lr', []), run.scalars.get('base_lr')
    if highest is None or highest == first:
        return {'lr': first}
    if not _has_schedule_hook(run.config):
        # mmengine's own figure, which scaling by the batch leaves out.
        return {'lr of the first parameter group': first}
    return {'highest lr (head)': highest, 'lr of the first parameter group': first}


def _has_schedule_hook(text: str) -> bool:
    """Whether what is logged as ``base_lr`` is a rate that the run used."""
    try:
        config = literal_config(text)
    except ValueError:
        return False
    hooks = [*(config.get('default_hooks') or {}).values(), *(config.get('custom_hooks') or [])]
    return any((hook or {}).get('type') == 'mae_plugin.ScheduleHook' for hook in hooks)


def _pictures(run: RunHistory) -> list[tuple[int, str]]:
    """Iteration and data URI of at most eight pictures, the newest first."""
    steps = sorted(run.pictures)
    count = min(MAX_PICTURES, len(steps))
    chosen = {steps[index * (len(steps) - 1) // max(1, count - 1)] for index in range(count)}
    chosen.update(steps[-1:])
    return [(step, _embed(run.pictures[step])) for step in sorted(chosen, reverse=True)]


def _embed(path: Path) -> str:
    """A picture as a data URI, at most ``PICTURE_WIDTH`` wide."""
    picture = cv2.imread(str(path))
    if picture is None:
        return ''
    height, width = picture.shape[:2]
    if width > PICTURE_WIDTH:
        size = (PICTURE_WIDTH, round(height * PICTURE_WIDTH / width))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    data = cv2.imencode('.jpg', picture, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
    return 'data:image/jpeg;base64,' + base64.b64encode(data).decode()
