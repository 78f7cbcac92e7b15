"""Train sequential recommenders on any GPU, or on the CPU.

>>> run = wgrec.train("sasrec", data="ratings.csv")
>>> run.metrics["test"]["ndcg@10"]
>>> run.recommend(users=["42"], k=5)

A run is a folder, the same that the program `wgrec` makes and reads.
"""

from ._models import models
from ._run import Items, Run, Users, open
from ._train import train
from ._wgrec import VERSION as __version__
from ._wgrec import InputError, NotFiniteError, RunError

__all__ = [
    "InputError",
    "Items",
    "NotFiniteError",
    "Run",
    "RunError",
    "Users",
    "__version__",
    "models",
    "open",
    "train",
]
