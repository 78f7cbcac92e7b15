"""A run of this module is the program's."""

import pathlib

import pandas as pd
import pytest
import wgrec

from conftest import SMALL, hashes, program


@pytest.fixture(scope="module")
def by_program(csv: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    out = tmp_path_factory.mktemp("program") / "run"
    sets = [arg for name, value in SMALL.items() for arg in ["--set", f"{name.replace('__', '.')}={value}"]]
    program("train", "sasrec", "--data", csv, "--device", "cpu", "--seed", 3, "--out", out, *sets)
    return out


def test_of_a_frame(run: wgrec.Run, by_program: pathlib.Path) -> None:
    assert len(hashes(run.path)) > 10
    assert hashes(run.path) == hashes(by_program)
    theirs = wgrec.open(by_program)
    for part in ["test", "valid", "parameters", "best_epoch", "steps"]:
        assert run.metrics[part] == theirs.metrics[part], part
    assert run.metrics["data"]["fingerprint"] == theirs.metrics["data"]["fingerprint"]
    assert (run.path / "model.safetensors").stat().st_size == (by_program / "model.safetensors").stat().st_size


def test_of_a_file(csv: pathlib.Path, by_program: pathlib.Path) -> None:
    run = wgrec.train("sasrec", csv, device="cpu", seed=3, progress=False, **SMALL)
    assert run.path == pathlib.Path("runs/sasrec-1")
    assert hashes(run.path) == hashes(by_program) and run.metrics["test"] == wgrec.open(by_program).metrics["test"]


def test_lists(run: wgrec.Run, by_program: pathlib.Path, tmp_path: pathlib.Path) -> None:
    out = tmp_path / "recommended.csv"
    program("recommend", "--run", by_program, "-k", 7, "--output", out)
    theirs, ours = pd.read_csv(out), pd.DataFrame(run.recommend(k=7))
    assert (theirs[["user", "item", "rank"]] == ours[["user", "item", "rank"]]).all().all()
    assert (theirs.score.astype("float32") == ours.score).all()


def test_the_program_reads_the_run(run: wgrec.Run) -> None:
    program("eval", "--run", run.path)
    program("verify", run.path, "--epochs", 1)
