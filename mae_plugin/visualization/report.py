"""One self-contained HTML page about a run: curves, pictures over time, scores, configuration."""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import cv2

from mae_plugin.checkpoint.stored_config import literal_config

from .svg_chart import Points, line_chart

MAX_PICTURES = 8
PICTURE_WIDTH = 1100  # pixels; larger ones are shrunk
PROBES = {'probe/knn': 'kNN', 'probe/linear': 'linear probe'}


@dataclass
class RunHistory:
    """What a run left in its work dir.

    Attributes:
        scalars: Points (iteration, value) by name.
        pictures: Reconstruction pictures by iteration.
        config: Text of the newest config.
        epochs: Epoch reached.
    """

    scalars: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    pictures: dict[int, Path] = field(default_factory=dict)
    config: str = ''
    epochs: int = 0


def read_run(work_dir: str | Path) -> RunHistory:
    """Collect the history of a run, also one that was resumed several times.

    Where a resumed part repeats iterations of an interrupted one, the later values count.

    Raises:
        ValueError: If the folder holds no logged values.
    """
    run = RunHistory()
    values: dict[str, dict[int, float]] = {}
    for folder in sorted(Path(work_dir).glob('*/vis_data')):
        for line in _lines(folder / 'scalars.json'):
            step = int(line.get('step', 0))
            run.epochs = max(run.epochs, int(line.get('epoch', 0)))
            for name, value in line.items():
                if isinstance(value, (int, float)) and name not in ('step', 'iter', 'epoch'):
                    values.setdefault(name, {})[step] = value
        for path in (folder / 'vis_image').glob('reconstruction_*.png'):
            run.pictures[int(path.stem.rsplit('_', 1)[1])] = path
        if (folder / 'config.py').is_file():
            run.config = (folder / 'config.py').read_text(encoding='utf-8')
    if not values:
        raise ValueError(
            f'{work_dir} holds no logged values (*/vis_data/scalars.json): give the work dir of a '
            'run that has trained for at least one logging interval'
        )
    run.scalars = {name: sorted(points.items()) for name, points in values.items()}
    return run


def _lines(path: Path) -> list[dict]:
    """The JSON lines of a log; one that an interruption cut off is left out."""
    found = []
    if path.is_file():
        for line in path.read_text(encoding='utf-8').splitlines():
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError:
                continue
    return found


def write_report(work_dir: str | Path, out: str | Path | None = None) -> Path:
    """Write the report of a run, ``report.html`` in its work dir by default; returns its path.

    Raises:
        ValueError: If the folder holds no logged values.
    """
    out = Path(out or Path(work_dir) / 'report.html')
    page = render(read_run(work_dir), Path(work_dir).resolve().name)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_suffix('.partial')
    partial.write_text(page, encoding='utf-8')
    partial.replace(out)
    return out


def render(run: RunHistory, name: str) -> str:
    """The page of a run as HTML; everything it shows is inside it."""
    images = _images_per_iteration(run.config)
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(name)}</title><style>{STYLE}</style></head><body>'
        f'<h1>{escape(name)}</h1>{_summary(run, images)}'
        f'<section class="charts">{_charts(run, images)}</section>'
        f'{_pictures(run)}{_scores(run)}'
        f'<details><summary>Configuration</summary><pre>{escape(run.config)}</pre></details>'
        '</body></html>'
    )


def _images_per_iteration(config: str) -> int | None:
    """Batch size of one process, from the config's text; it is read, never run."""
    try:
        return literal_config(config)['train_dataloader']['batch_size']
    except (ValueError, KeyError, TypeError, SyntaxError):
        return None


def _summary(run: RunHistory, images: int | None) -> str:
    last = max((points[-1][0] for points in run.scalars.values()), default=0)
    facts = {'iterations': f'{last:,}', 'epochs': f'{run.epochs:,}'}
    loss = run.scalars.get('loss')
    if loss:
        facts['loss'] = f'{loss[-1][1]:.4g}'
    for key, title in PROBES.items():
        if key in run.scalars:
            facts[title] = f'{run.scalars[key][-1][1]:.1f}%'
    times = sorted(value for _, value in run.scalars.get('time', []))
    if times:
        median = times[len(times) // 2]
        facts['per iteration'] = f'{median:.3g} s' if median >= 0.1 else f'{median * 1e3:.3g} ms'
        if images:
            facts['images/s per process'] = f'{images / median:.3g}'
    boxes = ''.join(f'<div><b>{value}</b>{escape(key)}</div>' for key, value in facts.items())
    return f'<section class="facts">{boxes}</section>'


def _charts(run: RunHistory, images: int | None) -> str:
    scalars = run.scalars
    charts: list[tuple[str, Mapping[str, Points]]] = [
        ('Loss', {key: points for key, points in scalars.items() if 'loss' in key}),
        (
            'Frozen features, top-1 (%)',
            {title: scalars[key] for key, title in PROBES.items() if key in scalars},
        ),
        ('Learning rate', {'lr': scalars.get('base_lr', scalars.get('lr', []))}),
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
    return ''.join(line_chart(title, series) for title, series in charts)


def _pictures(run: RunHistory) -> str:
    """The newest picture large, and the way there in at most eight steps."""
    steps = sorted(run.pictures)
    if not steps:
        return ''
    count = min(MAX_PICTURES, len(steps))
    chosen = [steps[index * (len(steps) - 1) // max(1, count - 1)] for index in range(count)]
    figures = [
        f'<figure><figcaption>iteration {step:,}</figcaption>'
        f'<img alt="reconstructions at iteration {step}" src="{_embed(run.pictures[step])}">'
        '</figure>'
        for step in sorted({*chosen, steps[-1]}, reverse=True)
    ]
    earlier = ''
    if len(figures) > 1:
        earlier = f'<h2>Earlier</h2><section class="pictures">{"".join(figures[1:])}</section>'
    return (
        '<h2>Original | masked | reconstruction | with the visible patches</h2>'
        f'<section class="newest">{figures[0]}</section>{earlier}'
    )


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


def _scores(run: RunHistory) -> str:
    """All probe scores as a table."""
    kept = {title: dict(run.scalars[key]) for key, title in PROBES.items() if key in run.scalars}
    if not kept:
        return ''
    steps = sorted(set().union(*kept.values()))
    head = ''.join(f'<th>{escape(title)}</th>' for title in kept)
    rows = ''.join(
        f'<tr><td>{step:,}</td>'
        + ''.join(
            f'<td>{part[step]:.1f}</td>' if step in part else '<td>–</td>'
            for part in kept.values()
        )
        + '</tr>'
        for step in steps
    )
    return (
        '<h2>Scores of the frozen features</h2>'
        f'<table><tr><th>iteration</th>{head}</tr>{rows}</table>'
    )


STYLE = re.sub(
    r'\s+',
    ' ',
    """
:root { --ink: #1c2128; --soft: #667; --line: #dde; --paper: #fff; --back: #f5f6f8;
  --c0: #2563c9; --c1: #d9730d; --c2: #2e8b57; --c3: #a63fa6; --c4: #8a6d3b; --c5: #555; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --soft: #9aa4b0; --line: #333b46;
  --paper: #1b2027; --back: #12161b; --c0: #6ea8ff; --c1: #ffa657; --c2: #6fcf97; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1240px; padding: 12px 16px 40px; background: var(--back);
  color: var(--ink); font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.35rem; overflow-wrap: anywhere; margin: 8px 0 12px; }
h2 { font-size: 1.05rem; margin: 26px 0 8px; }
.facts { display: flex; flex-wrap: wrap; gap: 8px; }
.facts div { background: var(--paper); border: 1px solid var(--line); border-radius: 8px;
  padding: 8px 14px; color: var(--soft); font-size: .82rem; flex: 1 1 96px; }
.facts b { display: block; color: var(--ink); font-size: 1.15rem; white-space: nowrap; }
.charts { display: grid; gap: 12px; margin-top: 12px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr)); }
.pictures { display: grid; gap: 12px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); }
figure { margin: 0; background: var(--paper); border: 1px solid var(--line);
  border-radius: 8px; padding: 10px; }
figcaption { font-weight: 600; margin-bottom: 4px; }
svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--soft); font-size: 12px; }
.end { text-anchor: end; } .mid { text-anchor: middle; }
.grid { stroke: var(--line); fill: none; }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.c0 { stroke: var(--c0); --c: var(--c0); } .c1 { stroke: var(--c1); --c: var(--c1); }
.c2 { stroke: var(--c2); --c: var(--c2); } .c3 { stroke: var(--c3); --c: var(--c3); }
.c4 { stroke: var(--c4); --c: var(--c4); } .c5 { stroke: var(--c5); --c: var(--c5); }
.dot { fill: var(--c); stroke: none; }
.legend { margin: 4px 0 0; font-size: .85rem; color: var(--soft); }
.legend span { margin-right: 14px; white-space: nowrap; }
.legend i { display: inline-block; width: 14px; height: 3px; margin-right: 6px;
  vertical-align: middle; background: var(--c); }
.bad { color: #c0392b; margin: 4px 0 0; font-size: .85rem; }
img { width: 100%; height: auto; display: block; }
.newest figure { max-width: 760px; }
table { border-collapse: collapse; background: var(--paper); }
td, th { border: 1px solid var(--line); padding: 4px 12px; text-align: right; }
details { margin-top: 26px; }
summary { cursor: pointer; font-weight: 600; }
pre { overflow-x: auto; background: var(--paper); border: 1px solid var(--line);
  border-radius: 8px; padding: 12px; font-size: 12px; }
""",
)
