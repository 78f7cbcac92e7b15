"""A run that was trained."""

import json
import os
import pathlib
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Union

import numpy as np
import numpy.typing as npt

from . import _input, _wgrec
from ._wgrec import InputError

Array = npt.NDArray[Any]


class Items(NamedTuple):
    """The items as users are compared with them: a score is `user @ vectors.T + bias`."""

    ids: Array
    """[items]"""
    vectors: npt.NDArray[np.float32]
    """[items, width]"""
    bias: Optional[npt.NDArray[np.float32]]
    """[items], where the model has one."""


class Users(NamedTuple):
    """The users after their whole histories."""

    ids: Array
    """[users]"""
    vectors: npt.NDArray[np.float32]
    """[users, width]"""


def open(path: _input.Path, *, data: Optional[_input.Path] = None, device: Optional[str] = None) -> "Run":
    """The run in a folder, of this module or of the program.

    data: where the data are, if they are no longer where the run was trained from.
    device: auto, cpu, gpu or gpu:N; not given: the run's.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise InputError(f"path: found {path!r}; expected the folder of a run")
    return Run(path, data, device)


class Run:
    """A run: its folder, results, and what its best parameters recommend. `wgrec.train` and `wgrec.open` give one.

    Ids are integers where the data are a frame or a Parquet file with integers as ids, else texts.
    """

    def __init__(self, path: _input.Path, data: Optional[_input.Path] = None, device: Optional[str] = None) -> None:
        self._run = _wgrec.Run(path, data, device)
        self._integers: Optional[List[bool]] = None
        self.path = pathlib.Path(path)
        """The folder."""

    def __repr__(self) -> str:
        test = (self._metrics() or {}).get("test", {})
        shown = "".join(f", test {name} {test[name]:.4f}" for name in ["ndcg@10"] if name in test)
        return f"<wgrec.Run {self.model} in {self.path}{shown}>"

    @property
    def model(self) -> str:
        """The name of the model."""
        name: str = self.settings["model"]["name"]
        return name

    @property
    def settings(self) -> Dict[str, Any]:
        """All settings, as resolved."""
        settings: Dict[str, Any] = json.loads(self._run.settings())
        return settings

    def _metrics(self) -> Optional[Dict[str, Any]]:
        text = self._run.metrics()
        metrics: Optional[Dict[str, Any]] = None if text is None else json.loads(text)
        return metrics

    @property
    def metrics(self) -> Dict[str, Any]:
        """What metrics.json says: `metrics["test"]["ndcg@10"]`, the protocol, the data, the time. Of several phases, of the last."""
        metrics = self._metrics()
        if metrics is None:
            raise InputError(
                f"{self.path}: found no metrics.json; expected a training that has come to its end: resume it by "
                f"wgrec.train({self.model!r}, out={str(self.path)!r}, resume=True)"
            )
        return metrics

    @property
    def history(self) -> List[Dict[str, Any]]:
        """A dict an epoch: `epoch`, `step`, `loss`, `valid/ndcg@10`, ..., `best`, `seconds`. Of several phases also `phase`.

        >>> pandas.DataFrame(run.history).plot(x="epoch", y="valid/ndcg@10")
        """
        return [_flat(line) for line in json.loads(self._run.history())]

    def recommend(
        self,
        users: Optional[Iterable[Union[str, int]]] = None,
        histories: object = None,
        k: int = 10,
        *,
        unmasked: bool = False,
    ) -> Dict[str, Array]:
        """The `k` best items of each user, best first, those of the history left out: columns `user`, `item`, `rank`, `score`.

        users: ids; not given: all.
        histories: other histories than those of the training, of users it need not know: a dict of users and their items, oldest
            first; a list of such lists; or a path or data frame as for `wgrec.train`. Events of unknown items are left out, and so
            are users who have no other.
        unmasked: recommend items of the history too.

        >>> pandas.DataFrame(run.recommend(users=[7, 42], k=5))
        >>> run.recommend(histories={"me": [1196, 260, 1210]})["item"]
        """
        names = None if users is None else _input.ids(users, "users")
        if isinstance(k, bool) or not hasattr(k, "__index__") or k < 1:
            raise InputError(f"k: found {k!r}; expected a whole number of at least 1")
        path, stream, pairs = None, None, None
        if isinstance(histories, (Mapping, list, tuple)):
            pairs = _input.pairs(histories)
        elif histories is not None:
            path, stream = _input.frame(histories, "histories")
        of, lengths, items, scores = self._run.recommend(names, path, stream, pairs, int(k), bool(unmasked))
        first = np.repeat(np.cumsum([0, *lengths])[:-1], lengths)
        return {
            # Other histories may be of users that are called otherwise.
            "user": np.repeat(self._ids(of, 0), lengths),
            "item": self._ids(items, 1),
            "rank": np.arange(len(items)) - first + 1,
            "score": np.frombuffer(scores, dtype=np.float32),
        }

    def items(self) -> Items:
        """Ids and vectors of the items, and where the model has them biases.

        >>> ids, vectors, bias = run.items()
        """
        ids, vectors, width, bias = self._run.items()
        biases = None if bias is None else np.frombuffer(bias, dtype=np.float32)
        return Items(self._ids(ids, 1), np.frombuffer(vectors, dtype=np.float32).reshape(len(ids), width), biases)

    def users(self) -> Users:
        """Ids and vectors of the users, after their whole histories. Of a model of several interests the vector is what
        `wgrec export users` writes.

        >>> ids, vectors = run.users()
        """
        ids, vectors, width = self._run.users()
        return Users(self._ids(ids, 0), np.frombuffer(vectors, dtype=np.float32).reshape(len(ids), width))

    def compare(
        self,
        other: "Run",
        metrics: Iterable[str] = ("recall@10", "recall@20", "ndcg@10", "ndcg@20", "mrr"),
    ) -> Dict[str, Dict[str, float]]:
        """This run minus the other on the test part, paired over users: for each metric the means of both (`this`, `other`), the
        `difference`, its 95% interval (`low`, `high`), two-sided p of the paired t-test and of Wilcoxon's test (`p_t`,
        `p_wilcoxon`), and the number of `users`.

        >>> pandas.DataFrame(run.compare(other)).T
        """
        if not isinstance(other, Run):
            raise InputError(f"other: found {other!r} ({_input.kind(other)}); expected a wgrec.Run")
        if isinstance(metrics, str):
            metrics = [metrics]
        compared: Dict[str, Dict[str, float]] = json.loads(self._run.compare(other._run, [str(m) for m in metrics]))
        return compared

    def _ids(self, ids: List[str], of: int) -> Array:
        """Ids as they are in the data; `of` is 0 for users, 1 for items."""
        if self._integers is None:
            self._integers = self._run.integer_ids()
        if self._integers[of]:
            try:
                return np.array([int(i) for i in ids], dtype=None if ids else np.int64)
            except ValueError:
                pass
        return np.array(ids, dtype=object)


def _flat(line: Mapping[str, Any], prefix: str = "") -> Dict[str, Any]:
    """An object of numbers and objects, as `NAME/NAME`."""
    flat: Dict[str, Any] = {}
    for name, value in line.items():
        if isinstance(value, Mapping):
            # What a model reports of its batches has names of its own.
            flat.update(_flat(value, prefix if name == "reported" else f"{prefix}{name}/"))
        elif name != "valid":
            # An epoch that was not evaluated has none.
            flat[prefix + name] = value
    return flat
