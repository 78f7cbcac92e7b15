"""Data frames: whatever Arrow hands over is read as the same data in a file are."""

import pathlib
import sys
from typing import Any, Callable

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import wgrec


def fingerprint(data: object, **settings: Any) -> str:
    run = wgrec.train("pop", data, device="cpu", progress=False, **settings)
    return str(run.metrics["data"]["fingerprint"])


@pytest.fixture(scope="module")
def of_csv(csv: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return fingerprint(csv, out=tmp_path_factory.mktemp("of_csv") / "run")


def table(ratings: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(ratings, preserve_index=False)


def with_ids(ratings: pd.DataFrame, kind: pa.DataType) -> pa.Table:
    whole = table(ratings)
    for at, name in [(0, "user_id"), (1, "item_id")]:
        text = kind if not pa.types.is_integer(kind) else None
        column = whole[name].cast(pa.string()).cast(kind) if text else whole[name].cast(kind)
        whole = whole.set_column(at, name, column)
    return whole


FRAMES: "dict[str, Callable[[pd.DataFrame], object]]" = {
    "pandas": lambda r: r,
    "pandas, strings": lambda r: r.astype({"user_id": str, "item_id": str}),
    "pandas, categories": lambda r: r.astype({"user_id": "category", "item_id": "category"}),
    "pandas, an index": lambda r: r.set_index("user_id"),
    "polars": lambda r: pl.from_pandas(r),
    "polars, strings": lambda r: pl.from_pandas(r).with_columns(pl.col("item_id").cast(pl.String)),
    "polars, categories": lambda r: pl.from_pandas(r).with_columns(pl.col("item_id").cast(pl.String).cast(pl.Categorical)),
    "polars, many chunks": lambda r: pl.concat([pl.from_pandas(r[at : at + 100]) for at in range(0, len(r), 100)], rechunk=False),
    "pyarrow": table,
    "pyarrow, chunks of 7": lambda r: pa.Table.from_batches(table(r).to_batches(max_chunksize=7)),
    "pyarrow, a slice": lambda r: pa.concat_tables([table(r), table(r)]).combine_chunks().slice(len(r)),
    "pyarrow, a reader": lambda r: table(r).to_reader(max_chunksize=1000),
    "pyarrow, extra columns": lambda r: table(r).append_column("tags", pa.array([["a", None]] * len(r))),
    **{f"ids are {kind}": (lambda kind: lambda r: with_ids(r, kind))(kind) for kind in [
        pa.int16(), pa.int32(), pa.uint16(), pa.uint32(), pa.uint64(), pa.string(), pa.large_string(),
        pa.dictionary(pa.int16(), pa.string()),
    ]},
}


@pytest.mark.parametrize("name", FRAMES)
def test_kinds_of_frames(name: str, ratings: pd.DataFrame, of_csv: str) -> None:
    assert fingerprint(FRAMES[name](ratings)) == of_csv


def test_string_views(ratings: pd.DataFrame, of_csv: str) -> None:
    if not hasattr(pa, "string_view"):
        pytest.skip("this pyarrow has no string views")
    def views(column: "pd.Series[str]") -> pa.Array:
        return pa.array(column.tolist(), pa.string_view())

    items = ratings.item_id.astype(str)
    assert fingerprint(table(ratings).set_column(1, "item_id", views(items))) == of_csv
    # Longer ones than a view holds, and null.
    long = ratings.assign(item_id=("the item called " + items).where(ratings.index != 9))
    viewed = table(ratings).set_column(1, "item_id", views(long.item_id.astype(object).where(ratings.index != 9, None)))
    assert fingerprint(viewed, data__skip_bad=1) == fingerprint(long, data__skip_bad=1)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_timestamps(unit: str, zone: str, ratings: pd.DataFrame, tmp_path: pathlib.Path) -> None:
    times = table(ratings)["timestamp"].cast(pa.timestamp("s", zone))
    pq.write_table(table(ratings).set_column(3, "timestamp", times.cast(pa.timestamp("us"))), tmp_path / "dated.parquet")
    frame = table(ratings).set_column(3, "timestamp", times.cast(pa.timestamp(unit, zone)))
    assert fingerprint(frame) == fingerprint(tmp_path / "dated.parquet")


@pytest.mark.parametrize("kind", [pa.date32(), pa.date64()])
def test_dates(kind: pa.DataType, ratings: pd.DataFrame, tmp_path: pathlib.Path) -> None:
    days = table(ratings)["timestamp"].cast(pa.timestamp("s")).cast(pa.date32())
    dated = table(ratings).set_column(3, "timestamp", days.cast(kind))
    path = tmp_path / "dated.csv"
    dated.set_column(3, "timestamp", days).to_pandas().to_csv(path, index=False)
    assert fingerprint(dated) == fingerprint(path)


def test_values(ratings: pd.DataFrame, of_csv: str) -> None:
    for kind in [pa.float32(), pa.int8(), pa.decimal128(10, 2)]:
        values = table(ratings)["rating"].cast(kind)
        assert fingerprint(table(ratings).set_column(2, "rating", values)) == of_csv, kind
    high = table(ratings).set_column(2, "rating", pc.greater(table(ratings)["item_id"], 20))
    number = ratings.assign(rating=(ratings.item_id > 20).astype(int))
    assert fingerprint(high, data__min_value=1) == fingerprint(number, data__min_value=1) != of_csv


def test_named_columns(ratings: pd.DataFrame, of_csv: str) -> None:
    other = ratings.rename(columns={"user_id": "who", "item_id": "what"})
    assert fingerprint(other, data__columns={"user": "who"}, data__columns__item="what") == of_csv


def test_data_that_are_kept(ratings: pd.DataFrame) -> None:
    run = wgrec.train("pop", ratings.assign(text="long"), device="cpu", progress=False)
    kept = pd.read_parquet(run.path / "data/interactions.parquet")
    assert list(kept.columns) == list(ratings.columns) and (kept == ratings).all().all()
    assert run.settings["data"]["path"] == str((run.path / "data/interactions.parquet").absolute())


BAD = [
    (lambda r: r.assign(user_id=r.user_id.where(r.index != 17)), r"data, row 17 \(from 0\), column \"user_id\": found \"null\"; expected a user id"),
    (lambda r: r.assign(item_id=r.item_id.astype(str).where(r.index != 5)), r"data, row 5 \(from 0\), column \"item_id\": found \"null\"; expected an item id"),
    (lambda r: r.drop(columns="item_id"), r"found the columns .*expected a column of items"),
    (lambda r: table(r).set_column(1, "item_id", pa.array([[1]] * len(r))), r"the column \"item_id\" has Arrow's format \"\+l\"; expected"),
    (lambda r: pl.from_pandas(r).lazy(), r"found an object of type polars.*LazyFrame; expected .*collect"),
    (lambda r: r.values, r"found an object of type numpy.ndarray; expected a path, or a data frame"),
    (lambda r: {"user": [1]}, r"found an object of type dict; expected .*data__max_len"),
    (lambda r: r[:0], r"no interaction|found|expected"),
    (lambda r: "nowhere.csv", r"nowhere.csv"),
]


@pytest.mark.parametrize("at", range(len(BAD)))
def test_wrong_data(at: int, ratings: pd.DataFrame, tmp_path: pathlib.Path) -> None:
    data, message = BAD[at]
    with pytest.raises(wgrec.InputError, match=message):
        wgrec.train("pop", data(ratings), device="cpu", out=tmp_path / "run", progress=False)
    # Nothing is left of it.
    assert not (tmp_path / "run").exists()


def test_a_missing_column_that_is_named(ratings: pd.DataFrame) -> None:
    with pytest.raises(wgrec.InputError, match=r"found the columns .*expected a column \"who\""):
        wgrec.train("pop", ratings, data__columns__user="who", progress=False)


def test_a_stream_that_was_read(ratings: pd.DataFrame) -> None:
    reader = table(ratings).to_reader()
    wgrec.train("pop", reader, device="cpu", progress=False)
    with pytest.raises((wgrec.InputError, wgrec.RunError), match="data"):
        wgrec.train("pop", reader, device="cpu", progress=False)


def test_a_stream_that_fails(ratings: pd.DataFrame) -> None:
    def batches() -> Any:
        yield from table(ratings).to_batches(max_chunksize=100)[:3]
        raise OSError("the network is gone")

    with pytest.raises(wgrec.RunError, match="data: the frame cannot be read: .*the network is gone"):
        wgrec.train("pop", pa.RecordBatchReader.from_batches(table(ratings).schema, batches()), progress=False)


def test_pandas_without_pyarrow(ratings: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(wgrec.InputError, match=r"found a data frame of pandas.*expected pyarrow"):
        wgrec.train("pop", ratings, progress=False)
