"""CSV and Parquet files: columns to the model's inputs, some rows at a time."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_octet.errors import CalibrationError
from keras_octet_cli.console import first_line
from keras_octet_cli.data import DataOptions
from keras_octet_cli.data.sampling import BATCH_SIZE, Stream, require, spread


def load(source: str, options: DataOptions, inputs: Sequence[Any], with_labels: bool) -> Any:
    """A stream of batches of rows: a dict of arrays by input name, and labels where wanted.

    Raises:
        MissingDependencyError: pyarrow is not installed.
        OSError: the file cannot be read.
        CalibrationError: it is not such a file, or its columns do not fit the model's inputs.
    """
    require("pyarrow", "Reading CSV and Parquet files")
    path = Path(source)
    with path.open("rb"):  # an OSError that names the file
        pass
    with _errors_of(path):
        table = (_CSV if path.suffix.lower() == ".csv" else _Parquet)(path)
    names = table.names
    double = [name for name, count in Counter(names).items() if count > 1]
    if double:
        raise CalibrationError(f"{path} has more than one column {double[0]!r}.")
    label = options.label_column
    if label is not None and label not in names:
        raise CalibrationError(f"{path} has no column {label!r}. {_listed(names)}")
    columns = assign_columns(
        [name for name in names if name != label], inputs, options.column, str(path)
    )
    wanted = [name for part in columns.values() for name in part]
    if with_labels and label is not None:
        wanted.append(label)
    # Labels have the type that the file says: whole numbers are classes.
    types = {
        name: "int64" if keras.backend.is_int_dtype(tensor.dtype) else "float64"
        for tensor in inputs
        for name in columns[tensor.name]
    }
    with _errors_of(path):
        num_rows = table.count()
    if not num_rows:
        raise CalibrationError(f"{path} has no rows.")
    chosen = spread(num_rows, options.limit, options.seed)
    positions = range(num_rows) if chosen is None else chosen

    def batches() -> Iterator[Any]:
        done = 0
        for rows in _regrouped(_guarded(table.read(wanted, types), path), chosen):
            part = _Rows(path, rows, positions[done : done + rows.num_rows], table.first_row)
            done += rows.num_rows
            arrays = {
                tensor.name: part.input(columns[tensor.name], tuple(tensor.shape[1:]))
                for tensor in inputs
            }
            yield (arrays, part.column(label)) if with_labels and label is not None else arrays

    return Stream(len(positions), batches)


def assign_columns(
    names: Sequence[str], inputs: Sequence[Any], patterns: Sequence[str], source: str
) -> dict[str, list[str]]:
    """The columns of each input, by its name.

    An input reads the column with its name, or those named `name_0`, `name_1` and so on. The only
    input of a model, without such columns, reads all, or those that match a pattern.

    Raises:
        CalibrationError: columns are missing, or not as many as the input has values.
    """
    assigned: dict[str, list[str]] = {}
    for tensor in inputs:
        if len(inputs) == 1 and patterns:
            assigned[tensor.name] = _matching(names, patterns, source)
            continue
        numbered = re.compile(rf"{re.escape(tensor.name)}_(\d+)")
        found = {int(match[1]): name for name in names if (match := numbered.fullmatch(name))}
        if tensor.name in names:
            assigned[tensor.name] = [tensor.name]
        elif found:
            assigned[tensor.name] = [found[number] for number in sorted(found)]
        elif len(inputs) == 1:
            assigned[tensor.name] = list(names)
        else:
            raise CalibrationError(
                f"{source} has no column for the input {tensor.name!r}: expected one of that name, "
                f"or {tensor.name}_0, {tensor.name}_1 and so on. {_listed(names)}"
            )
    if patterns and len(inputs) > 1:
        raise CalibrationError(
            "--column is for models with one input; columns go to several inputs by their names: "
            f"{[tensor.name for tensor in inputs]}."
        )
    for tensor in inputs:
        _check_number(assigned[tensor.name], tensor, source)
    return assigned


def _check_number(columns: Sequence[str], tensor: Any, source: str) -> None:
    shape = tuple(tensor.shape[1:])
    if None in shape or len(columns) == 1:  # one column can hold lists
        return
    expected = int(np.prod(shape))
    if len(columns) != expected:
        raise CalibrationError(
            f"{source} has {len(columns)} columns for the input {tensor.name!r} of shape {shape}, "
            f"which has {expected} values. Choose columns with --column, and name the column of "
            f"labels with --label-column. {_listed(columns)}"
        )


def _matching(names: Sequence[str], patterns: Sequence[str], source: str) -> list[str]:
    """In the order of the patterns, and of the table within each."""
    found: list[str] = []
    for pattern in patterns:
        matching = [name for name in names if fnmatchcase(name, pattern)]
        if not matching:
            raise CalibrationError(f"{source} has no column {pattern!r}. {_listed(names)}")
        found += [name for name in matching if name not in found]
    return found


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:8]))
    return f"Columns: {shown}{f' and {len(names) - 8} more' if len(names) > 8 else ''}."


class _CSV:
    """A CSV file with a line of column names."""

    first_row = 2  # as pyarrow counts

    def __init__(self, path: Path) -> None:
        self._path = path
        self.names = self._open().schema.names
        if all(re.fullmatch(r"[-+.\deE]*\d[-+.\deE]*", name) for name in self.names):
            raise CalibrationError(
                f"{path} has numbers in its first line, {', '.join(self.names[:4])} and so on. "
                "Expected names of columns."
            )

    def count(self) -> int:
        return sum(rows.num_rows for rows in self.read(self.names[:1], {self.names[0]: "string"}))

    def read(self, columns: Sequence[str], types: Mapping[str, str]) -> Iterator[Any]:
        """Batches of rows of these columns, as these types or, without one, as what they look."""
        yield from self._open(include_columns=list(columns), column_types=dict(types))

    def _open(self, **conversion: Any) -> Any:
        from pyarrow import csv

        return csv.open_csv(
            self._path,
            # Without threads, errors name the row.
            read_options=csv.ReadOptions(use_threads=False),
            convert_options=csv.ConvertOptions(**conversion),
        )


class _Parquet:
    """A Parquet file."""

    first_row = 1

    def __init__(self, path: Path) -> None:
        from pyarrow import parquet

        self._path = path
        self.names = parquet.read_schema(path).names

    def count(self) -> int:
        from pyarrow import parquet

        return int(parquet.read_metadata(self._path).num_rows)

    def read(self, columns: Sequence[str], types: Mapping[str, str]) -> Iterator[Any]:
        from pyarrow import parquet

        with parquet.ParquetFile(self._path) as file:
            yield from file.iter_batches(BATCH_SIZE, columns=list(columns))


def _regrouped(batches: Iterator[Any], chosen: np.ndarray | None) -> Iterator[Any]:
    """Tables of `BATCH_SIZE` rows, the last of fewer; only the chosen rows where that is given."""
    import pyarrow

    waiting: list[Any] = []
    count = first = 0
    for rows in batches:
        end = first + rows.num_rows
        if chosen is not None:
            low, high = np.searchsorted(chosen, (first, end))
            rows = rows.take(pyarrow.array(chosen[low:high] - first))
        first = end
        waiting.append(rows)
        count += rows.num_rows
        while count >= BATCH_SIZE:
            table = pyarrow.Table.from_batches(waiting)
            yield table.slice(0, BATCH_SIZE)
            waiting, count = table.slice(BATCH_SIZE).to_batches(), count - BATCH_SIZE
    if count:
        yield pyarrow.Table.from_batches(waiting)


class _Rows:
    """Some rows of a table as arrays.

    Args:
        path: of the file, for messages.
        table: the rows.
        positions: of these rows in the file, from 0.
        first_row: what the first row of the file counts as.
    """

    def __init__(
        self, path: Path, table: Any, positions: Sequence[int] | np.ndarray, first_row: int
    ) -> None:
        self._path = path
        self._table = table
        self._positions = positions
        self._first_row = first_row

    def input(self, columns: Sequence[str], shape: tuple[int | None, ...]) -> np.ndarray:
        """The values of an input, `(rows, *shape)`.

        Raises:
            CalibrationError: there are not as many in a row; or as for `column`.
        """
        parts = [self.column(name) for name in columns]
        values = parts[0] if len(parts) == 1 else np.stack(parts, axis=1)
        try:
            return values.reshape(len(values), *(-1 if size is None else size for size in shape))
        except ValueError:
            raise CalibrationError(
                f"{self._path}, column {columns[0]!r} has {values[0].size} values in a row. "
                f"Expected shape {shape}."
            ) from None

    def column(self, name: str) -> np.ndarray:
        """A column as numbers; of a column of lists, one row of the array for each list.

        Raises:
            CalibrationError: it has text, lists of different lengths, or values that are missing.
        """
        from pyarrow import compute, types

        column = self._table.column(name).combine_chunks()
        sizes = [len(column)]
        lists = (types.is_list, types.is_large_list, types.is_fixed_size_list)
        while any(fits(column.type) for fits in lists):
            self._check(~column.is_valid().to_numpy(zero_copy_only=False), name)
            lengths = np.unique(compute.list_value_length(column).to_numpy(zero_copy_only=False))
            if not len(lengths):
                raise CalibrationError(
                    f"{self._path}, column {name!r} has empty lists. Expected numbers."
                )
            if len(lengths) > 1:
                raise CalibrationError(
                    f"{self._path}, column {name!r} has lists of {lengths[0]} and of "
                    f"{lengths[-1]} values. Expected lists of one length."
                )
            sizes.append(int(lengths[0]))
            column = column.flatten()
        if types.is_decimal(column.type):
            column = column.cast("float64")
        numbers = (types.is_integer, types.is_floating, types.is_boolean)
        if not any(fits(column.type) for fits in numbers):
            raise CalibrationError(
                f"{self._path}, column {name!r} is of type {column.type}. Expected numbers; names "
                "of classes must be made numbers first."
            )
        missing = ~column.is_valid().to_numpy(zero_copy_only=False)
        self._check(missing.reshape(sizes), name)
        values = column.to_numpy(zero_copy_only=False).reshape(sizes)
        self._check(~np.isfinite(values), name)
        return values

    def _check(self, missing: np.ndarray, name: str) -> None:
        if missing.any():
            index = int(np.argmax(missing.reshape(len(missing), -1).any(axis=1)))
            row = self._positions[index] + self._first_row
            raise CalibrationError(
                f"{self._path}, row {row}, column {name!r}: the value is missing, NaN or infinite."
            )


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    """Errors of pyarrow as one of ours that names the file."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise CalibrationError(
            f"{path} is not a table that pyarrow can read: {first_line(error)}"
        ) from error


def _guarded(rows: Iterator[Any], path: Path) -> Iterator[Any]:
    while True:
        with _errors_of(path):
            try:
                batch = next(rows)
            except StopIteration:
                return
        yield batch
