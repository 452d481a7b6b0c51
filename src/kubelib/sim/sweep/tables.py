"""Tables of rows in files: CSV, or Parquet where pyarrow is installed. A file is there whole or not at all."""

import csv
import os
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from kubelib.sim.sweep.base import Row, SweepError

_MISSING = "Parquet needs pyarrow: pip install 'kubelib-cluster[parquet]'."


def check_table(path: Path) -> None:
    """Raise `SweepError` if no table could be written to a path."""
    if path.suffix == ".parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError:
            raise SweepError(_MISSING) from None
    elif path.suffix != ".csv":
        raise SweepError(f"{path} must end in .csv or .parquet.")
    if not path.parent.is_dir():
        raise SweepError(f"There is no directory {path.parent}.")


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Write rows of the same columns. Raises `SweepError` if that is impossible."""
    check_table(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        if path.suffix == ".parquet":
            _write_parquet(partial, rows)
        else:
            partial.write_text(csv_of(rows), encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise SweepError(f"{path} cannot be written: {error.strerror}.") from None
    finally:
        partial.unlink(missing_ok=True)


def csv_of(rows: Sequence[Row]) -> str:
    """Return rows as CSV; no value is `nan`, and numbers are written in full.

    >>> print(csv_of([{"a": 0.1, "b": True}, {"a": 2.0, "b": False}]), end="")
    a,b
    0.1,true
    2.0,false
    """
    text = StringIO()
    if rows:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(rows[0])
        for row in rows:
            writer.writerow([_plain(value) for value in row.values()])
    return text.getvalue()


def _plain(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value


def _write_parquet(path: Path, rows: Sequence[Row]) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)


def read_parquet(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Parquet file. Raises OSError or ValueError if it is none, `SweepError` without pyarrow."""
    try:
        from pyarrow import parquet
    except ImportError:
        raise SweepError(_MISSING) from None
    yield from parquet.read_table(path).to_pylist()
