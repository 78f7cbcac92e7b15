"""What people give: data, ids and settings."""

import json
import os
from typing import Any, Iterable, List, Mapping, Optional, Tuple, Union

from ._wgrec import InputError

Path = Union[str, "os.PathLike[str]"]


def kind(value: object) -> str:
    """What a value is, for a message."""
    of = type(value)
    return of.__qualname__ if of.__module__ == "builtins" else f"{of.__module__}.{of.__qualname__}"


def frame(data: object, name: str = "data") -> Tuple[Optional[Path], Optional[object]]:
    """A path, or the Arrow stream of a data frame."""
    if data is None or isinstance(data, (str, os.PathLike)):
        return data, None
    export = getattr(data, "__arrow_c_stream__", None)
    try:
        if export is not None:
            return None, export()
        if type(data).__module__.split(".")[0] == "pandas" and hasattr(data, "columns"):
            # Before 2.2, pandas hands over nothing.
            import pyarrow

            return None, pyarrow.Table.from_pandas(data, preserve_index=False).__arrow_c_stream__()
    except ImportError as e:
        raise InputError(
            f"{name}: found a data frame of pandas, which it hands over by pyarrow ({e}); "
            "expected pyarrow 14 or later: pip install pyarrow"
        ) from e
    hint = ""
    if kind(data).endswith("LazyFrame"):
        hint = ": .collect() makes one"
    elif isinstance(data, Mapping):
        hint = "; settings of the section data are arguments such as data__max_len"
    raise InputError(
        f"{name}: found an object of type {kind(data)}; expected a path, or a data frame of pandas, polars or pyarrow{hint}"
    )


def ids(values: object, name: str) -> List[str]:
    """Ids as they are in the data: texts, or whole numbers."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise InputError(f"{name}: found {values!r}; expected a list of ids")
    return [_id(value, name) for value in values]


def _id(value: object, name: str) -> str:
    if isinstance(value, str):
        return value
    index = getattr(value, "__index__", None)
    if index is None or isinstance(value, bool):
        raise InputError(f"{name}: found {value!r} ({kind(value)}); expected ids, which are texts or whole numbers")
    return str(index())


def pairs(histories: object) -> Tuple[List[str], List[str]]:
    """Users and items of histories, an event each. Users of a list are called 0, 1, ..."""
    named = histories.items() if isinstance(histories, Mapping) else enumerate(histories)  # type: ignore[arg-type]
    users: List[str] = []
    items: List[str] = []
    for user, history in named:
        events = ids(history, "histories")
        users += [_id(user, "histories")] * len(events)
        items += events
    if not items:
        raise InputError("histories: found no item; expected a list of items for each user")
    return users, items


def settings(given: Mapping[str, Any]) -> List[Tuple[str, str]]:
    """`key=value` in TOML for each setting, and how it was given, for errors. None leaves a setting as it is."""
    return [
        (f"{name.replace('__', '.')}={toml(value, name)}", f"{name}={value!r}")
        for name, value in given.items()
        if value is not None
    ]


def toml(value: Any, name: str) -> str:
    """A value as TOML has it."""
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        # A number of numpy's.
        value = value.item()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (str, os.PathLike)):
        return json.dumps(os.fspath(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        inner = (f"{json.dumps(str(key))} = {toml(v, name)}" for key, v in value.items() if v is not None)
        return "{" + ", ".join(inner) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml(v, name) for v in value) + "]"
    raise InputError(
        f"{name}: found {value!r} ({kind(value)}); expected a number, a text, true or false, a list or a dict"
    )
