"""One run of a table in a process of its own: pretrain, then probe the frozen features.

Started by tools/ablate.py as ``python tools/ablation/one_run.py FOLDER``, where FOLDER holds
``spec.json``; leaves ``result.json`` there.
"""

import json
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmengine.runner import Runner

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1])]


def main(folder: Path) -> None:
    """Run what ``spec.json`` says; see :func:`run`."""
    from mae_plugin.cli.torchvision_compat import keep_torchvision_importable

    keep_torchvision_importable()
    spec = json.loads((folder / 'spec.json').read_text())
    result = run(spec['config'], spec['probe'], spec['seed'], folder)
    partial = folder / 'result.partial'
    partial.write_text(json.dumps(result))
    partial.replace(folder / 'result.json')


def run(config: dict, probe: dict, seed: int, folder: Path) -> dict:
    """Pretrain and probe.

    Args:
        config: A whole pretraining config. With ``pretrain=False`` its random weights are probed.
        probe: ``train`` and ``val`` folders of labelled images, ``size``, ``pool`` and the most
            images to take from each, ``max_train`` and ``max_val``.
        seed: Of weights, order, crops and masks.
        folder: Work dir.

    Returns:
        ``knn`` and ``linear`` accuracies in percent; the mean ``loss`` of the last tenth of the
        iterations; ``iteration_ms``, the median time of an iteration without data loading;
        ``cpu_ms``, the processor time of one, loading included; ``train_seconds``.
    """
    from mmengine.config import Config
    from mmengine.utils import import_modules_from_strings

    from mae_plugin.engine.runner import build_runner
    from mae_plugin.evaluation.features import evaluate_folders

    cfg = Config(dict(config, work_dir=str(folder), randomness=dict(seed=seed), launcher='none'))
    import_modules_from_strings(**cfg.get('custom_imports', dict(imports=[])))
    pretrain = cfg.pop('pretrain', True)
    cfg.experiment_name = f'{folder.name}-{time.time_ns()}'
    # A full-size row is long: its own checkpoints let it go on. Small ones keep none.
    runner = build_runner(cfg, resume='auto')
    result = {}
    if pretrain:
        wall, cpu = time.time(), time.process_time()
        runner.train()
        result = timings(runner, time.time() - wall, time.process_time() - cpu)
    else:
        runner.model.init_weights()
    model = runner.model
    return result | evaluate_folders(model.backbone, model.data_preprocessor, **probe)


def timings(runner: 'Runner', seconds: float, cpu_seconds: float) -> dict:
    """Loss and times from the runner's history."""
    history = {
        name: runner.message_hub.get_scalar(f'train/{name}').data[0]
        for name in ('loss', 'time', 'data_time')
    }
    steps = [whole - data for whole, data in zip(history['time'], history['data_time'])]
    last = history['loss'][-max(1, len(steps) // 10) :]
    return dict(
        loss=float(statistics.mean(map(float, last))),
        iteration_ms=1000 * float(statistics.median(map(float, steps))),
        cpu_ms=1000 * cpu_seconds / max(1, runner.iter),
        train_seconds=seconds,
    )


if __name__ == '__main__':
    main(Path(sys.argv[1]))
