"""What a run gives."""

import pathlib
import shutil

import numpy as np
import pandas as pd
import pytest
import wgrec


def test_results(run: wgrec.Run) -> None:
    assert run.model == "sasrec" and run.settings["train"]["epochs"] == 3 and run.settings["seed"] == 3
    assert 0 < run.metrics["test"]["ndcg@10"] < 1 and run.metrics["model"] == "sasrec"
    history = pd.DataFrame(run.history)
    assert list(history.epoch) == [1, 2, 3] and history["valid/ndcg@10"].notna().all() and history.best.any()
    assert "sasrec" in repr(run) and "test ndcg@10" in repr(run)


def test_best_items(run: wgrec.Run, ratings: pd.DataFrame) -> None:
    best = pd.DataFrame(run.recommend(users=[1003, 1000, "1001"], k=5))
    assert list(best.user.unique()) == [1003, 1000, 1001] and best.user.dtype == best.item.dtype == np.int64
    assert list(best["rank"]) == [1, 2, 3, 4, 5] * 3 and best.score.dtype == np.float32
    assert (best.groupby("user").score.diff().dropna() <= 0).all()
    seen = set(zip(ratings.user_id, ratings.item_id))
    assert not seen & set(zip(best.user, best.item))
    assert len(run.recommend(k=3)["user"]) == 3 * ratings.user_id.nunique()
    assert run.recommend(users=np.array([1003]), k=2, unmasked=True)["item"].shape == (2,)


def test_other_histories(run: wgrec.Run, ratings: pd.DataFrame, tmp_path: pathlib.Path) -> None:
    history = [int(i) for i in ratings.item_id[ratings.user_id == 1000]]
    expected = run.recommend(users=[1000], k=6)
    for histories in [{1000: history}, {"1000": np.array(history)}, ratings[ratings.user_id == 1000]]:
        got = run.recommend(histories=histories, k=6)
        assert (got["item"] == expected["item"]).all() and (got["score"] == expected["score"]).all()
    ratings[ratings.user_id == 1000].to_csv(tmp_path / "new.csv", index=False)
    assert (run.recommend(histories=tmp_path / "new.csv", k=6)["item"] == expected["item"]).all()
    new = run.recommend(histories={"me": history, "you": history[:2]}, k=6)
    assert list(new["user"]) == ["me"] * 6 + ["you"] * 6 and (new["item"][:6] == expected["item"]).all()
    assert list(run.recommend(histories=[history, [3, 4]], k=1)["user"]) == [0, 1]
    assert list(run.recommend(users=["you"], histories={"me": [1], "you": [2]}, k=1)["user"]) == ["you"]


def test_vectors_score_as_the_model_does(run: wgrec.Run) -> None:
    items, users = run.items(), run.users()
    assert items.ids.dtype == users.ids.dtype == np.int64
    assert items.vectors.shape == (len(items.ids), 16) and users.vectors.shape == (len(users.ids), 16)
    assert items.vectors.dtype == np.float32
    scores = users.vectors @ items.vectors.T + (0 if items.bias is None else items.bias)
    best = run.recommend(users=users.ids[:50], k=1, unmasked=True)
    np.testing.assert_allclose(scores[:50].max(axis=1), best["score"], rtol=1e-4, atol=1e-5)
    assert (items.ids[scores[:50].argmax(axis=1)] == best["item"]).mean() > 0.9


def test_comparison(run: wgrec.Run, pop: wgrec.Run) -> None:
    compared = run.compare(pop)
    assert list(compared) == ["recall@10", "recall@20", "ndcg@10", "ndcg@20", "mrr"]
    ndcg = compared["ndcg@10"]
    assert ndcg["this"] == pytest.approx(run.metrics["test"]["ndcg@10"])
    assert ndcg["difference"] == pytest.approx(ndcg["this"] - ndcg["other"])
    assert ndcg["low"] <= ndcg["difference"] <= ndcg["high"] and 0 <= ndcg["p_t"] <= 1 and ndcg["users"] > 900
    assert list(pop.compare(run, metrics=["mrr"])) == ["mrr"]
    assert pop.compare(run, metrics="mrr")["mrr"]["difference"] == pytest.approx(-compared["mrr"]["difference"])


def test_ids_of_a_text_file_are_texts(csv: pathlib.Path) -> None:
    run = wgrec.train("pop", csv, device="cpu", progress=False)
    best = run.recommend(users=["1000"], k=1)
    assert best["user"].tolist() == ["1000"] and best["item"].dtype == object


def test_a_run_that_was_moved(pop: wgrec.Run, tmp_path: pathlib.Path) -> None:
    expected = pop.recommend(users=[1000])
    shutil.copytree(pop.path, tmp_path / "moved")
    moved = wgrec.open(tmp_path / "moved")
    assert (moved.recommend(users=[1000])["item"] == expected["item"]).all()


def test_phases(tmp_path: pathlib.Path) -> None:
    run = wgrec.train("timirec", out=tmp_path / "run", device="cpu", progress=False, train__max_steps=20, model__dim=8)
    assert {line["phase"] for line in run.history} >= {run.history[-1]["phase"]} and len(run.history) >= 2
    assert run.metrics["test"]["ndcg@10"] > 0


def test_models() -> None:
    models = {model["model"]: model for model in wgrec.models()}
    assert models["sasrec"]["title"] and "paper" in models["sasrec"]["presets"] and len(models) > 20
    settings = {row["setting"]: row for row in wgrec.models("sasrec")}
    assert settings["model.dim"]["default"] == "64" and settings["train.lr"]["meaning"]
    with pytest.raises(wgrec.InputError, match="sasrec"):
        wgrec.models("sasrek")
