"""Reads what `wgrec train --log tensorboard,mlflow` wrote by the packages that it is for, and compares it with the run folder.

    pip install tensorboard mlflow-skinny
    wgrec train sasrec --log tensorboard,mlflow --out runs/logged
    MLFLOW_ALLOW_FILE_STORE=true python experiments/logs/read.py runs/logged

For runs of one phase.
"""
import json
import math
import sys
from pathlib import Path

from mlflow.tracking import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

run = Path(sys.argv[1])
lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
metrics = json.loads((run / "metrics.json").read_text())


def expected(name):
    """Steps and values by the run folder."""
    group, name = name.split("/", 1)
    if group == "test":
        return [(metrics["steps"], metrics["test"][name])]
    values = [(line["step"], line["valid"][name] if group == "valid" else line[name]) for line in lines]
    return values


def near(found, wanted, digits):
    assert [step for step, _ in found] == [step for step, _ in wanted], (found, wanted)
    for (_, a), (_, b) in zip(found, wanted):
        assert math.isclose(a, b, rel_tol=10.0**-digits), (found, wanted)


names = ["epoch/loss", "valid/ndcg@10", "valid/mrr", "test/recall@10"]
events = EventAccumulator(str(run / "tensorboard"))
events.Reload()
for name in names:
    near([(e.step, e.value) for e in events.Scalars(name)], expected(name), 6)
learned = events.Scalars("train/loss")
assert learned[-1].step == lines[-1]["step"] and all(math.isfinite(e.value) for e in learned)
[table] = events.Tensors("settings")
rows = make_ndarray(table.tensor_proto).item().decode().splitlines()
assert f"| seed | {metrics['seed']} |" in rows
print(f"TensorBoard: {len(events.Tags()['scalars'])} scalars, {len(rows) - 2} settings")

client = MlflowClient(tracking_uri=(run.parent / "mlruns").resolve().as_uri())
experiment = client.get_experiment_by_name("wgrec")
[found] = [r for r in client.search_runs([experiment.experiment_id]) if r.info.run_name == run.name]
assert found.info.status == "FINISHED" and found.data.params["seed"] == str(metrics["seed"])
for name in names:
    history = client.get_metric_history(found.info.run_id, name.replace("@", "_at_"))
    near([(m.step, m.value) for m in history], expected(name), 15)
print(f"MLflow: {len(found.data.metrics)} metrics, {len(found.data.params)} settings")
