"""Pictures of mmseg's and mmdet's predictions on images that OpenCV cannot read or show."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mae_plugin.datasets.decoding.decode import decode
from mae_plugin.datasets.decoding_options import decoding_options
from mae_plugin.registry import HOOKS
from mae_plugin.visualization.reconstruction import display_bands, to_display


@HOOKS.register_module()
class BandVisualizationHook(Hook):
    """Stands where ``SegVisualizationHook`` or ``DetVisualizationHook`` does, for any bands.

    They read each picture anew with OpenCV; this one decodes as ``mae_plugin.LoadImage`` does and
    shows three bands, stretched as the pictures of pretraining are. A picture that cannot be
    drawn is a warning.

    Args:
        channels: C of the images.
        bands: Those shown as red, green and blue, or the one shown as grey; by default the first
            three, or the only one.
        draw: Whether anything is drawn; the hosts' ``tools/test.py --show-dir`` sets it.
        interval: Validation iterations between pictures; in a test every image gets one.
        show: Open a window for each picture instead of writing it.
        wait_time: Seconds for which the window stays; 0 waits for a key.
        test_out_dir: Where a test's pictures go; mmdet's ``--show-dir`` sets it. By default the
            visualizer's own place below the work dir.

    Raises:
        ValueError: If ``bands`` are not one or three channels that exist.
    """

    def __init__(
        self,
        channels: int,
        bands: Sequence[int] | None = None,
        draw: bool = False,
        interval: int = 50,
        show: bool = False,
        wait_time: float = 0.0,
        test_out_dir: str | None = None,
    ) -> None:
        self.channels = channels
        self.bands = display_bands(channels, bands)
        self.draw = draw
        self.interval = interval
        self.show = show
        self.wait_time = wait_time
        self.test_out_dir = test_out_dir
        self._tested = 0

    def _after_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Sequence | None = None,
        mode: str = 'train',
    ) -> None:
        """Draw the first image of every ``interval``-th validation batch, and all of a test."""
        if not self.draw or not outputs or mode == 'train':
            return
        if mode == 'test':
            for sample in outputs:
                self._tested += 1
                self._add(runner, mode, sample, self._tested)
        elif (step := runner.iter + batch_idx) % self.interval == 0:
            self._add(runner, mode, outputs[0], step)

    def _add(self, runner: Runner, split: str, sample: Any, step: int) -> None:
        try:
            name, out_file = Path(sample.img_path).name, None
            if split == 'test' and self.test_out_dir:
                folder = Path(runner.work_dir, runner.timestamp, self.test_out_dir)
                out_file = str(folder / f'{name}.png')
            decoding = decoding_options(runner.cfg, f'{split}_dataloader')
            runner.visualizer.add_datasample(
                f'{split}_{name}',
                self._picture(sample.img_path, decoding),
                data_sample=sample,
                show=self.show,
                wait_time=self.wait_time,
                out_file=out_file,
                step=step,
            )
        except Exception as error:
            runner.logger.warning(f'no picture of {sample.img_path}: {error!r}')

    def _picture(self, path: str, decoding: dict) -> np.ndarray:
        """(H, W, 3) uint8, RGB."""
        decoded = decode(path, self.channels, **decoding)
        pixels = np.array(decoded, np.float32)  # mapped files are read-only
        images = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        # mmseg 1.2 draws into it with OpenCV, which wants rows that follow each other.
        return np.ascontiguousarray(to_display(images, images, self.bands)[0])
