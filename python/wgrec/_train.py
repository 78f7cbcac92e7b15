"""`wgrec.train`"""

import sys
from typing import Any, Optional

from . import _input, _wgrec
from ._progress import Progress
from ._run import Run, open


def train(
    model: str,
    /,
    data: object = None,
    *,
    out: Optional[_input.Path] = None,
    seed: Optional[int] = None,
    device: Optional[str] = None,
    preset: Optional[str] = None,
    config: Optional[_input.Path] = None,
    resume: bool = False,
    progress: bool = True,
    **settings: Any,
) -> Run:
    """Train a model and test it. The same data and settings give the run that `wgrec train` gives, to the bit.

    model: one of `wgrec.models()`.
    data: a file or folder of interactions, the name of a known data set, or a data frame of pandas, polars, pyarrow or any other
        library that has Arrow's stream interface. A frame is written to `data/interactions.parquet` in the run's folder, batch by
        batch. Not given: the embedded world.
    out: the folder of the run, new or empty. Not given: the one after the last of runs/MODEL-1, runs/MODEL-2, ...
    seed, device: settings of these names.
    preset: settings to start from, as in `wgrec.models()`.
    config: a file of settings, TOML or YAML.
    resume: resume the run in `out`, or the latest of the model, from its last checkpoint. Without one, start.
    progress: print what the program prints.
    settings: `train__lr=5e-4`, or `train={"lr": 5e-4}`; `wgrec.models(model)` lists them.

    Ctrl-C saves the run and raises KeyboardInterrupt; `resume=True` continues it to the same bits. Wrong input or usage is an
    `InputError` (a ValueError), a failed run a `RunError` (a RuntimeError).

    >>> run = wgrec.train("sasrec", data=ratings, train__epochs=20, data__max_len=50)
    """
    if not isinstance(model, str):
        raise _wgrec.InputError(f"model: found {model!r}; expected the name of a model, one of wgrec.models()")
    path, stream = _input.frame(data)
    # As with the program, what has a name of its own goes over the others.
    given = _input.settings({**settings, "seed": seed, "device": device})
    show = Progress() if progress and sys.stdout is not None else None
    return open(_wgrec.train(model, path, stream, given, out, preset, config, bool(resume), show))
