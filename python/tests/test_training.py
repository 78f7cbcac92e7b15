"""How a training runs: settings, progress, Ctrl-C, threads, errors."""

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pandas as pd
import pytest
import wgrec

from conftest import SMALL, hashes


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"train__epoch": 3}, r"train__epoch=3: there is no setting \"train.epoch\"; here it is train.epochs"),
        ({"epochs": 3}, r"did you mean train.epochs|here it is train.epochs"),
        ({"train__lr": "fast"}, r"train.lr: found \"fast\"; expected a number above 0"),
        ({"train": {"lr": -1.0}}, r"train.lr: found -1"),
        ({"train__lr": float("nan")}, r"train.lr: found NaN; expected a finite number"),
        ({"train__epochs": object()}, r"train__epochs: found <object.*expected a number, a text"),
        ({"seed": -1}, r"seed: found -1; expected"),
        ({"device": "tpu"}, r"tpu"),
        ({"preset": "best"}, r"best"),
        ({"config": "nowhere.toml"}, r"nowhere.toml"),
        ({"world__users": 100}, r"world"),
    ],
)
def test_wrong_settings(settings: dict, message: str, csv: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        wgrec.train("sasrec", csv, out=tmp_path / "run", progress=False, **settings)
    assert raised.type is wgrec.InputError
    assert not (tmp_path / "run").exists()


def test_ways_to_say_a_setting(csv: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.toml").write_text("[train]\nbatch = 32\nlr = 0.5\n")
    run = wgrec.train(
        "sasrec",
        csv,
        progress=False,
        device="cpu",
        config=tmp_path / "a.toml",
        train={"lr": 0.01, "epochs": 1, "sampler": {"popularity": 0.75}},
        model={"dim": 8},
        data__split="ratio:80,10,10",
        eval__metric="recall@5",
        train__max_steps=None,
    )
    settings = run.settings
    assert settings["train"]["batch"] == 32 and settings["train"]["lr"] == 0.01 and settings["model"]["dim"] == 8
    assert settings["train"]["sampler"] == {"popularity": 0.75} and settings["eval"]["metric"] == "recall@5"


def test_wrong_use(run: wgrec.Run, pop: wgrec.Run, ratings: pd.DataFrame, tmp_path: pathlib.Path) -> None:
    def refused(message: str, call: object) -> None:
        with pytest.raises(wgrec.InputError, match=message):
            call()  # type: ignore[operator]

    refused("expected the name of a model", lambda: wgrec.train(None))  # type: ignore[arg-type]
    refused("sasrec", lambda: wgrec.train("sasrek", progress=False))
    refused("is not empty", lambda: wgrec.train("pop", ratings, out=run.path, progress=False))
    refused("found a data frame to resume with", lambda: wgrec.train("sasrec", ratings, out=run.path, resume=True, progress=False))
    refused("this is a run of sasrec", lambda: wgrec.train("pop", out=run.path, resume=True, progress=False))
    refused("no run is here", lambda: wgrec.open(tmp_path))
    refused("expected the folder of a run", lambda: wgrec.open(3))  # type: ignore[arg-type]
    refused("no user \"7\"", lambda: run.recommend(users=[7]))
    refused("users: found '7'; expected a list of ids", lambda: run.recommend(users="7"))
    refused("users: found 7.5 .float.; expected ids", lambda: run.recommend(users=[7.5]))  # type: ignore[list-item]
    refused("k: found 0; expected", lambda: run.recommend(k=0))
    refused("k: found 1.5; expected", lambda: run.recommend(k=1.5))  # type: ignore[arg-type]
    refused("histories: found 3; expected a list", lambda: run.recommend(histories={1: 3}))
    refused("found no item; expected", lambda: run.recommend(histories={}))
    refused("histories: found .*; expected events of items that the run was trained on", lambda: run.recommend(histories={1: [12345]}))
    refused("histories: found an object of type int", lambda: run.recommend(histories=3))
    refused("other: found 'runs/pop-1' .str.; expected a wgrec.Run", lambda: run.compare("runs/pop-1"))  # type: ignore[arg-type]
    refused("metrics: ", lambda: run.compare(pop, metrics=["auc"]))
    other = wgrec.train("pop", ratings[:5000], device="cpu", progress=False)
    refused("cannot be compared: data: ", lambda: run.compare(other))
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun/config.toml").write_text((run.path / "config.toml").read_text())
    begun = wgrec.open(tmp_path / "begun")
    refused("found no metrics.json; expected", lambda: begun.metrics)
    refused("no parameters yet", lambda: begun.recommend())


def test_a_training_that_diverges(csv: pathlib.Path) -> None:
    with pytest.raises(wgrec.NotFiniteError, match="diverged") as raised:
        wgrec.train("sasrec", csv, device="cpu", progress=False, train__lr=1e30, **SMALL)
    assert isinstance(raised.value, RuntimeError)


def test_progress(csv: pathlib.Path, capfd: pytest.CaptureFixture) -> None:
    wgrec.train("sasrec", csv, device="cpu", **SMALL)
    said = capfd.readouterr()
    assert said.out.count("\nepoch ") == 3 and "test     recall@5" in said.out and "\r" not in said.out
    assert said.err == ""
    wgrec.train("sasrec", csv, device="cpu", progress=False, **SMALL)
    assert capfd.readouterr() == ("", "")


def test_progress_in_a_terminal(csv: pathlib.Path) -> None:
    pty = pytest.importorskip("pty")
    code = f"import wgrec; wgrec.train('sasrec', {str(csv)!r}, device='cpu', train__epochs=1)"
    ours, theirs = pty.openpty()
    child = subprocess.Popen([sys.executable, "-c", code], stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    while True:
        try:
            piece = os.read(ours, 1 << 16)
        except OSError:
            break
        if not piece:
            break
        said += piece
    assert child.wait() == 0
    text = said.decode()
    assert "\repoch 1   " in text and "━" in text and "\x1b[K" in text
    # The bar is gone before the line of the epoch.
    assert "\r\x1b[K\repoch 1  " in text


def test_other_threads_run_meanwhile(csv: pathlib.Path) -> None:
    done, ticks = threading.Event(), 0

    def tick() -> None:
        nonlocal ticks
        while not done.is_set():
            time.sleep(0.002)
            ticks += 1

    thread = threading.Thread(target=tick)
    thread.start()
    begun = time.monotonic()
    wgrec.train("sasrec", csv, device="cpu", progress=False, **SMALL)
    seconds = time.monotonic() - begun
    done.set()
    thread.join()
    assert ticks > 50 * seconds, f"{ticks} ticks in {seconds:.1f} s"


def test_trainings_in_other_threads(csv: pathlib.Path, tmp_path: pathlib.Path) -> None:
    runs = {}

    def train(name: str) -> None:
        runs[name] = wgrec.train("sasrec", csv, out=tmp_path / name, device="cpu", progress=False, **SMALL)

    threads = [threading.Thread(target=train, args=(name,)) for name in "ab"]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert hashes(runs["a"].path) == hashes(runs["b"].path)


LONG = {**SMALL, "train__epochs": 6, "model__dim": 64}


def test_interrupted_and_resumed(csv: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Ctrl-C within the second epoch; the run is then resumed to the bits of one that was not interrupted."""
    whole = wgrec.train("sasrec", csv, out=tmp_path / "whole", device="cpu", progress=False, **LONG)
    code = f"import wgrec; wgrec.train('sasrec', {str(csv)!r}, out='cut', device='cpu', **{LONG!r})"
    child = subprocess.Popen([sys.executable, "-uc", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith("epoch 1"):
            break
    begun = time.monotonic()
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert "KeyboardInterrupt: stopped after step" in said, said
    assert "resume by wgrec.train(\"sasrec\", out=\"cut\", resume=True)" in said
    assert time.monotonic() - begun < 20
    cut = wgrec.train("sasrec", out="cut", resume=True, progress=False)
    assert hashes(cut.path)[-1] == hashes(whole.path)[-1]
    assert cut.metrics["test"] == whole.metrics["test"]
    theirs = {line["step"]: line for line in hashes(whole.path)}
    assert all(line == theirs[line["step"]] for line in hashes(cut.path))


def test_another_signal(csv: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """What a handler raises comes out; the run is saved all the same."""

    class Late(Exception):
        pass

    def raise_late(*_: object) -> None:
        raise Late

    before = signal.signal(signal.SIGALRM, raise_late)
    try:
        signal.setitimer(signal.ITIMER_REAL, 1.5)
        with pytest.raises(Late):
            wgrec.train("sasrec", csv, out=tmp_path / "late", device="cpu", progress=False, **{**LONG, "train__epochs": 1000})
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert (tmp_path / "late/checkpoint/last.safetensors").is_file()
