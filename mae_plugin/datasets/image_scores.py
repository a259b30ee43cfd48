"""A number for each image of a data set, in a file: ``tools/score_images.py`` writes losses so."""

import io
import json
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np

from mae_plugin.datasets.image_dataset import ImageDataset
from mae_plugin.datasets.path_list import PathList
from mae_plugin.errors import UserError
from mae_plugin.files import atomic_write


class ImageScores(NamedTuple):
    """Scores of named images.

    Attributes:
        names: Of the images, below the folder or shards that they lie in.
        scores: (N,) float32; NaN is not known yet.
        facts: What they were made with; scores of other facts are not mixed with them.
    """

    names: PathList
    scores: np.ndarray
    facts: dict[str, Any]

    @classmethod
    def load(cls, path: str | Path) -> 'ImageScores':
        """Read a file.

        Raises:
            UserError: If it is missing or none of these.
        """
        if not Path(path).is_file():
            raise UserError(f'no scores {str(path)!r}: write them with tools/score_images.py')
        try:
            with np.load(path, allow_pickle=False) as file:
                names = PathList(file['names'], file['offsets'])
                scores, facts = file['scores'], json.loads(str(file['facts']))
        except (ValueError, KeyError, OSError, EOFError, BadZipFile) as error:
            raise UserError(
                f'{str(path)!r} holds no scores of images ({error}): write them with '
                'tools/score_images.py'
            ) from None
        return cls(names, scores, facts)

    def save(self, path: str | Path) -> None:
        """Write a file, whole or not at all."""
        content = io.BytesIO()
        np.savez(
            content,
            names=self.names.names,
            offsets=self.names.offsets,
            scores=self.scores,
            facts=np.array(json.dumps(self.facts)),
        )
        atomic_write(path, content.getbuffer())

    def of(self, names: PathList) -> np.ndarray:
        """Scores (M,) of other names, in their order; NaN for those that are not here."""
        ours = self.names
        if np.array_equal(ours.names, names.names) and np.array_equal(ours.offsets, names.offsets):
            return self.scores.copy()
        known = dict(zip(ours, self.scores))
        return np.array([known.get(name, np.nan) for name in names], np.float32)


def image_names(dataset: ImageDataset) -> PathList:
    """Names of a data set's images, the same wherever its folder or shards lie."""
    return PathList.of(dataset.name(index) for index in range(len(dataset)))
