import json
import pathlib
import subprocess
from typing import Any, Dict, List

import numpy as np
import pandas as pd
import pytest
import wgrec

# A training of a second or two.
SMALL: Dict[str, Any] = {"model__dim": 16, "data__max_len": 20, "train__epochs": 3, "train__batch": 32, "log__every": 5}


@pytest.fixture(scope="session")
def ratings() -> pd.DataFrame:
    """1,000 users, 200 items, each item with a likely next one. User 1000 and item 1 are the first ids."""
    random = np.random.default_rng(1)
    rows = []
    for user in range(1000):
        item = int(random.integers(200))
        for step in range(int(random.integers(6, 25))):
            rows.append((1000 + user, 1 + item, 4.0, 1_600_000_000 + 86_400 * step + user))
            item = (3 * item + int(random.integers(4))) % 200
    return pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])


@pytest.fixture(scope="session")
def csv(ratings: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("csv") / "ratings.csv"
    ratings.to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def run(ratings: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> wgrec.Run:
    out = tmp_path_factory.mktemp("runs") / "sasrec"
    return wgrec.train("sasrec", ratings, out=out, device="cpu", seed=3, progress=False, **SMALL)


@pytest.fixture(scope="session")
def pop(ratings: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> wgrec.Run:
    out = tmp_path_factory.mktemp("runs") / "pop"
    return wgrec.train("pop", ratings, out=out, device="cpu", progress=False)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs without `out` are in a folder of the test."""
    monkeypatch.chdir(tmp_path)


def program(*args: object) -> None:
    subprocess.run(["wgrec", *map(str, args)], check=True, stdout=subprocess.DEVNULL)


def hashes(run: pathlib.Path) -> List[Any]:
    """Hashes of the trained parameters at each reading of the loss. A training that is resumed says again what it is made by."""
    lines = map(json.loads, (run / "hashes.jsonl").read_text().splitlines())
    return [line for line in lines if "hashes" in line]
