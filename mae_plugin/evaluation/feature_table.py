"""Features as a file: ``.npz``, ``.csv`` or ``.parquet``, a row for each image."""

import csv
import importlib.util
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from mae_plugin.errors import UserError
from mae_plugin.files import atomic_path

SUFFIXES = ('.npz', '.csv', '.parquet')
Rows = tuple[Sequence[str], dict[str, np.ndarray]]  # names, and features (N, D) by pool


def check_table(path: str | Path) -> None:
    """Refuse a file that could not be written in the end.

    Raises:
        UserError: If the suffix is none of :data:`SUFFIXES`, or pyarrow is missing.
    """
    suffix = Path(path).suffix
    if suffix not in SUFFIXES:
        raise UserError(f'--out {path}: give a name that ends in {", ".join(SUFFIXES)}')
    if suffix == '.parquet' and importlib.util.find_spec('pyarrow') is None:
        raise UserError(
            f'--out {path} needs pyarrow: pip install pyarrow '
            "(or 'mae_plugin[embed]'), or give a name that ends in .npz or .csv"
        )


def write_table(path: str | Path, rows: Iterable[Rows]) -> None:
    """Write features; the file is whole or absent.

    ``.npz`` holds ``paths`` and, by pool, ``features_avg`` (N, D) and ``features_cls``; ``.csv``
    the columns ``path``, ``avg_0`` and so on; ``.parquet`` a column of lists for each pool. The
    last two are written as the rows come.

    Args:
        path: File; its suffix decides.
        rows: Blocks of rows.
    """
    with atomic_path(path) as temporary:
        {'.npz': _npz, '.csv': _csv, '.parquet': _parquet}[Path(path).suffix](temporary, rows)


def _npz(path: Path, rows: Iterable[Rows]) -> None:
    names: list[str] = []
    blocks: dict[str, list[np.ndarray]] = {}
    for some, features in rows:
        names += some
        for pool, values in features.items():
            blocks.setdefault(f'features_{pool}', []).append(values)
    with path.open('wb') as file:
        arrays = {name: np.concatenate(values) for name, values in blocks.items()}
        np.savez(file, paths=np.array(names), **arrays)  # type: ignore[arg-type]


def _csv(path: Path, rows: Iterable[Rows]) -> None:
    with path.open('w', newline='', encoding='utf-8', errors='surrogateescape') as file:
        writer = csv.writer(file)
        for number, (names, features) in enumerate(rows):
            if number == 0:
                columns = [
                    f'{pool}_{column}'
                    for pool, values in features.items()
                    for column in range(values.shape[1])
                ]
                writer.writerow(['path', *columns])
            for name, *values in zip(names, *features.values()):
                numbers = [f'{value:.7g}' for part in values for value in part]
                writer.writerow([name, *numbers])


def _parquet(path: Path, rows: Iterable[Rows]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    writer = None
    try:
        for names, features in rows:
            columns = {'path': pa.array([_text(name) for name in names])}
            for pool, values in features.items():
                flat = pa.array(np.ascontiguousarray(values).reshape(-1))
                columns[pool] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
            table = pa.table(columns)
            writer = writer or parquet.ParquetWriter(path, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _text(name: str) -> str:
    """A path whose bytes are no text, as text."""
    return name.encode('utf-8', 'surrogateescape').decode('utf-8', 'replace')
