"""A table of all models on four data sets by one protocol: trains what is missing, and writes docs/leaderboard.md.

    python3 experiments/leaderboard/leaderboard.py run --folder DATA [--only world,ml-100k] [--models sasrec,..] [--seeds 1,2,3]
    python3 experiments/leaderboard/leaderboard.py page

DATA has the folders ml-100k, ml-1m and amazon-beauty. Runs lie in runs/leaderboard/DATA/MODEL-SEED: one that was stopped goes on where it
was, and one that is done is not run again. Each that is done adds a line to results.csv here, of which the page is made, so that runs of
several machines come together. Needs target/release/wgrec, or another named by --wgrec.
"""

import argparse
import csv
import json
import re
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
RESULTS = HERE / "results.csv"
PAGE = ROOT / "docs" / "leaderboard.md"
METRICS = ("recall@10", "ndcg@10", "mrr")
FIELDS = ("data", "model", "seed", *METRICS, "pop_ndcg@10", "parameters", "epochs", "best_epoch", "steps", "seconds", "stopped",
          "device", "wgrec")

# Every setting that is not a default of the model: one protocol, and windows of one length. Steps are limited where a training takes
# long; batches are the models' own.
COMMON = ["eval.protocol=full", "eval.mask_history=true", "eval.metric=ndcg@10", "data.max_len=50"]
DATA = {
    "world": ("the embedded world, seed 1", None, []),
    "ml-100k": ("MovieLens-100K", "ml-100k", []),
    "amazon-beauty": ("Amazon Beauty", "amazon-beauty/Beauty.txt.gz", ["train.max_steps=4000"]),
    "ml-1m": ("MovieLens-1M", "ml-1m", ["train.max_steps=4000"]),
}
MODELS = ["pop", "ease", "npe", "fpmc", "stamp", "caser", "hgn", "gru4rec", "sasrec", "bert4rec", "fmlp", "dpcpl", "pomrec", "comirec",
          "mind", "miner", "timirec", "mcprn", "rdrsr"]
OTHERS = {
    "reads features of items, which not all of these data sets have": ["ant", "unisrec", "nova", "fdsa", "nearest"],
    "learns tasks, with a protocol of their own": ["pcl", "mtl", "teracon"],
}


def check_models(wgrec):
    """Every model is either in the table or left out for a reason."""
    listed = subprocess.run([wgrec, "models"], check=True, capture_output=True, text=True).stdout
    known = set(re.findall(r"^ ([a-z0-9]+) {2,}\S", listed, re.MULTILINE)) - {"model"}  # the head
    here = {*MODELS, *(model for models in OTHERS.values() for model in models)}
    if known != here:
        sys.exit(f"leaderboard.py: add or take out {', '.join(sorted(known ^ here))}")


def read_results():
    if not RESULTS.is_file():
        return []
    with RESULTS.open(newline="") as file:
        return list(csv.DictReader(file))


def write_results(rows):
    order = {name: at for at, name in enumerate([*DATA, *MODELS])}
    rows.sort(key=lambda row: (order[row["data"]], order[row["model"]], int(row["seed"])))
    new = RESULTS.with_suffix(".new")
    with new.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    new.rename(RESULTS)


def result(data, model, seed, metrics):
    test, settings = metrics["test"], metrics["settings"]
    limit = settings["train"].get("max_steps")
    row = {"data": data, "model": model, "seed": seed, "stopped": int(bool(limit) and metrics["steps"] >= limit)}
    row |= {metric: f"{test[metric]:.6f}" for metric in METRICS}
    row["pop_ndcg@10"] = f"{metrics['pop']['test']['ndcg@10']:.6f}"
    row |= {key: metrics[key] for key in ("parameters", "epochs", "best_epoch", "steps", "device", "wgrec")}
    row["seconds"] = round(metrics["train_seconds"])
    return row


def run(args):
    check_models(args.wgrec)
    only = args.only.split(",") if args.only else list(DATA)
    models = args.models.split(",") if args.models else MODELS
    seeds = [int(seed) for seed in args.seeds.split(",")]
    for flag, found, known in (("--only", only, DATA), ("--models", models, MODELS)):
        for name in found:
            if name not in known:
                sys.exit(f"{flag}: found {name}; expected some of {', '.join(known)}")
    # Seed after seed, so that the table is whole early.
    for seed in seeds:
        for data in only:
            _, folder, settings = DATA[data]
            if folder and seed > 1 and settings:
                continue
            for model in models:
                out = ROOT / "runs" / "leaderboard" / data / f"{model}-{seed}"
                metrics = out / "metrics.json"
                if not metrics.is_file():
                    command = [args.wgrec, "train", model, "--out", str(out), "--resume", "--seed", str(seed), "--device", args.device]
                    command += ["--data", str(Path(args.folder) / folder)] if folder else []
                    for setting in COMMON + settings:
                        command += ["--set", setting]
                    out.parent.mkdir(parents=True, exist_ok=True)
                    with (out.parent / f"{model}-{seed}.log").open("a") as log:
                        done = subprocess.run(command, stdout=log, stderr=log)
                    if done.returncode != 0:
                        print(f"{data} {model} {seed}: exit code {done.returncode}; see {log.name}", flush=True)
                        if done.returncode == 130:
                            sys.exit(130)
                        continue
                row = result(data, model, seed, json.loads(metrics.read_text()))
                same = lambda other: (other["data"], other["model"], int(other["seed"])) == (data, model, seed)
                write_results([*(other for other in read_results() if not same(other)), row])
                print(f"{data} {model} {seed}: ndcg@10 {row['ndcg@10']}, {row['seconds']} s", flush=True)


def page(_):
    rows = read_results()
    text = [
        "# All models by one protocol",
        "",
        "Leave-one-out, the test item ranked among all items outside the user's history, histories of at most 50 items (whole ones in EASE), the models' default",
        "settings, which were chosen on other tables than these: nothing was tuned here. Each figure is the mean of its seeds, ± half of the",
        "range between them. `python3 experiments/leaderboard/leaderboard.py run --folder DATA` trains what is missing and `page` writes this",
        "page; experiments/leaderboard/results.csv has a line for each run.",
    ]
    for data, (name, _, settings) in DATA.items():
        groups = defaultdict(list)
        for row in rows:
            if row["data"] == data:
                groups[row["model"]].append(row)
        text += ["", f"## {name[0].upper()}{name[1:]}", ""]
        if not groups:
            text += ["Not run yet."]
            continue
        limit = next((setting.split("=")[1] for setting in settings if "max_steps" in setting), None)
        if limit:
            text += [f"One seed, at most {int(limit):,} steps; * marks what the limit stopped.", ""]
        popular = float(next(iter(groups.values()))[0]["pop_ndcg@10"])
        text += ["| model | Recall@10 | NDCG@10 | MRR | seeds | parameters | seconds |", "|---|---|---|---|---|---|---|"]

        def figure(of_model, metric):
            values = [float(row[metric]) for row in of_model]
            spread = f" ± {(max(values) - min(values)) / 2:.4f}" if len(values) > 1 else ""
            return f"{statistics.mean(values):.4f}{spread}"

        mean = lambda of_model: statistics.mean(float(row["ndcg@10"]) for row in of_model)
        for model, of_model in sorted(groups.items(), key=lambda group: -mean(group[1])):
            star = "*" if any(row["stopped"] == "1" for row in of_model) else ""
            parameters = f"{int(of_model[0]['parameters']):,}"
            seconds = f"{statistics.mean(float(row['seconds']) for row in of_model):.0f}"
            figures = " | ".join(figure(of_model, metric) for metric in METRICS)
            text.append(f"| `{model}`{star} | {figures} | {len(of_model)} | {parameters} | {seconds} |")
        missing = [model for model in MODELS if model not in groups]
        text += ["", f"Popularity has an NDCG@10 of {popular:.4f}." + (f" Not run yet: {', '.join(missing)}." if missing else "")]
    text += ["", "## Left out", ""]
    text += [f"- {', '.join(f'`{model}`' for model in models)}: {why}" for why, models in OTHERS.items()]
    PAGE.write_text("\n".join(text) + "\n")
    print(f"saved {PAGE.relative_to(ROOT)}")


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)
    running = commands.add_parser("run")
    running.add_argument("--folder", default=".")
    running.add_argument("--only")
    running.add_argument("--models")
    running.add_argument("--seeds", default="1,2,3")
    running.add_argument("--device", default="auto")
    running.add_argument("--wgrec", default=str(ROOT / "target" / "release" / "wgrec"))
    running.set_defaults(run=run)
    commands.add_parser("page").set_defaults(run=page)
    args = parser.parse_args()
    args.run(args)


main()
