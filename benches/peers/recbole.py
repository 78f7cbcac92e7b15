"""RecBole's SASRec, GRU4Rec and BERT4Rec beside wgrec's: the quality of both, and the speed of both, on the same data and cores.

    pip install recbole==1.2.1 'torch<2.6' 'numpy<2' 'scipy<1.12' 'pandas<2.2' 'setuptools<70'
    cargo build --release
    python benches/peers/recbole.py --data PATH/ml-100k --what quality [--seeds 1,2,3] [--epochs 200] [--patience 10] [--dim 64] [--max-len 50]
    python benches/peers/recbole.py --data PATH/ml-100k --what speed [--steps 300] [--rounds 3]

PATH/ml-100k is a folder of RecBole's atomic files. Both sides: no filter, leave-one-out by time, equal times by file order,
full ranking, history masked. RecBole leaves a sequential model's history among the candidates (`repeatable`, its only mode) and
reads times as float32, which swaps the last events of some users; so its trainer is given the mask, and times are each user's
0, 1, 2 and so on, in a copy of another name (it reads a file of its own for whatever is called ml-100k). Every seed checks that
both have the same number of training prefixes, the same test pairs, number of candidates and settings.

Settings are RecBole's defaults (MODELS; other widths by --dim), but for ft_ratio (wgrec hides the last place alone in a tenth of the
windows) and HGN's penalties on norms (0). Both: softmax over all items (FPMC and HGN: BPR), Adam 1e-3, batch 256, windows of 50 (--max-len), best epoch by NDCG@10, MRR over the whole
ranking. RecBole trains one
sample a prefix; wgrec the same ("prefixes"), or one a window with a target at every place ("windows": an epoch has the same
targets in a 38th of the steps, so it is validated every 10 epochs, and patience counts validations). What still differs:
- BERT4Rec: wgrec knows windows alone. RecBole hides places of each prefix, never its target; reads ten hidden places a sample at
  most; has no loss at the first place; draws ft_ratio once a batch. Padding is on the right there, on the left here.
- GRU4Rec: no biases in RecBole's GRU; that one's start values are uniform, and its output layer's PyTorch's default.
- HGN: RecBole scores negatives by the table that histories are read from, not by the one that targets are scored by, and
  padding takes part in its gates.
- SASRec and GRU4Rec: RecBole's softmax has the padding row as one more class.

Speed: RecBole's own loader, model and optimiser in a bare loop, anomaly detection off, denormals flushed, an allocator that does
not return pages, no logging; its first steps are left out, wgrec's are not. The two run in turns on the same cores. Memory is the
peak of the whole process for wgrec, and what comes beyond the imports for RecBole.
"""
import argparse, collections, csv, json, math, os, pathlib, resource, statistics, subprocess, sys, tempfile, time

FAIR = dict(MALLOC_MMAP_MAX_="0", MALLOC_TRIM_THRESHOLD_="9000000000", MALLOC_TOP_PAD_="268435456", THP_MEM_ALLOC_ENABLE="1")
args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
args.add_argument("--data", required=True, help="folder with NAME.inter, called NAME")
args.add_argument("--what", choices=["quality", "speed"], required=True)
args.add_argument("--models", default="SASRec,GRU4Rec,BERT4Rec")
args.add_argument("--seeds", default="1,2,3")
args.add_argument("--epochs", type=int, default=200)
args.add_argument("--patience", type=int, default=10, help="validations without a better one")
args.add_argument("--steps", type=int, default=300, help="steps a round")
args.add_argument("--rounds", type=int, default=3)
args.add_argument("--dim", type=int, default=64, help="width; inner layers have four times it, GRU4Rec twice")
args.add_argument("--max-len", type=int, default=50, help="events of a window")
args.add_argument("--threads", type=int, default=2)
args.add_argument("--wgrec", default=str(pathlib.Path(__file__).resolve().parents[2] / "target/release/wgrec"))
args.add_argument("--peer", help=argparse.SUPPRESS)  # RecBole's process: model, seed
args = args.parse_args()
data = pathlib.Path(args.data).resolve()
B, D, M, WARM, EVERY = 256, args.dim, args.max_len, 30, 10
# RecBole's name, wgrec's, the value.
ALL = [("learning_rate", "train.lr", 1e-3), ("train_batch_size", "train.batch", B), ("weight_decay", "train.weight_decay", 0.0),
       ("MAX_ITEM_LIST_LENGTH", "data.max_len", M)]
BLOCKS = [("n_layers", "model.layers", 2), ("n_heads", "model.heads", 2), ("hidden_size", "model.dim", D),
          ("inner_size", "model.inner", 4 * D)]
DROPOUT = lambda p: [("hidden_dropout_prob", "model.dropout", p), ("attn_dropout_prob", "model.dropout", p)]
MODELS = {
    "SASRec": ALL + BLOCKS + DROPOUT(0.5),
    "GRU4Rec": ALL + [("embedding_size", "model.dim", D), ("hidden_size", "model.hidden", 2 * D), ("num_layers", "model.layers", 1),
                      ("dropout_prob", "model.dropout", 0.3)],
    "BERT4Rec": ALL + BLOCKS + DROPOUT(0.2) + [("mask_ratio", "model.hidden_share", 0.2)],
    "FPMC": ALL + [("embedding_size", "model.dim", D)],
    "HGN": ALL + [("embedding_size", "model.dim", D)],
}
# Those that are trained by BPR against one uniform negative, not by the softmax over all items.
PAIRWISE = ["FPMC", "HGN"]
SAMPLES = {"SASRec": ["prefixes", "windows"], "GRU4Rec": ["prefixes", "windows"], "BERT4Rec": ["windows"], "FPMC": ["prefixes"],
           "HGN": ["prefixes"]}
METRICS = [f"{name}@{k}" for name in ("recall", "ndcg") for k in (5, 10, 20)] + ["mrr"]
peak_mib = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# ---- RecBole, in a process and folder of its own ----

def recbole(name, seed):
    sys.path.pop(0)  # This file has the package's name.
    import numpy as np
    import torch
    np.float = float  # RecBole's metrics still use it.
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.trainer import Trainer
    from recbole.utils import get_model, init_seed
    get_model(name)
    torch.autograd.set_detect_anomaly(False)  # On since that import, by sine.py.
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    imported = peak_mib()
    items = len({line.split("\t")[1] for line in open("copy/copy.inter")}) - 1
    config = Config(model=name, dataset="copy", config_dict={
        **{theirs: value for theirs, _, value in MODELS[name]}, "ft_ratio": 0.1,
        **({"loss_type": "BPR", "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1, "alpha": 1.0,
                                                          "dynamic": False, "candidate_num": 0}, "reg_weight": [0, 0]}
           if name in PAIRWISE else {"loss_type": "CE", "train_neg_sample_args": None}),
        "data_path": ".", "load_col": {"inter": ["user_id", "item_id", "timestamp"]}, "normalize_all": False, "repeatable": True,
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
        "metrics": ["Recall", "NDCG", "MRR"], "topk": [5, 10, 20, items], "valid_metric": "NDCG@10", "metric_decimal_place": 12,
        "eval_batch_size": B, "epochs": args.epochs, "stopping_step": args.patience - 1, "seed": seed, "use_gpu": False})
    init_seed(seed, True)
    dataset = create_dataset(config)
    table = dataset.inter_feat.sort_values(["user_id", "timestamp"], kind="stable")
    histories = table.groupby("user_id")["item_id"].agg(list)
    train, valid, test = data_preparation(config, dataset)
    read = peak_mib()
    init_seed(seed, True)
    model = get_model(name)(config, train._dataset)

    if args.what == "speed":
        optimiser = torch.optim.Adam(model.parameters(), lr=config["learning_rate"])
        endless = (batch for _ in iter(int, 1) for batch in train)
        model.train()
        for line in sys.stdin:
            samples, begin = 0, time.perf_counter()
            for _ in range(int(line)):
                batch = next(endless)
                optimiser.zero_grad()
                model.calculate_loss(batch).backward()
                optimiser.step()
                samples += len(batch)
            yield {"samples": samples, "seconds": time.perf_counter() - begin, "mib": peak_mib() - imported,
                   "beyond_data": peak_mib() - read}
        return

    class Masked(Trainer):
        def _full_sort_batch_eval(self, batch):
            users, targets = batch[0]["user_id"].tolist(), batch[3].tolist()
            seen = [(row, item) for row, (user, target) in enumerate(zip(users, targets))
                    for item in histories[user][:histories[user].index(target)]]
            masked = super()._full_sort_batch_eval((batch[0], tuple(torch.tensor(seen).T), *batch[2:]))
            self.pairs += zip(dataset.id2token("user_id", users), dataset.id2token("item_id", targets))
            self.candidates += int(masked[1].isfinite().sum())
            return masked

    trainer, best, seconds = Masked(config, model), [], time.time()
    trainer.pairs, trainer.candidates = [], 0
    trainer.fit(train, valid, verbose=False, callback_fn=lambda epoch, value: best.append(value))
    seconds = time.time() - seconds
    trainer.pairs, trainer.candidates = [], 0
    result = {key.lower(): float(value) for key, value in trainer.evaluate(test).items()}
    yield {"test": {**result, "mrr": result[f"mrr@{items}"]}, "best_epoch": len(best) - best[::-1].index(max(best)),
           "epochs": len(best), "seconds": seconds, "pairs": sorted(trainer.pairs), "candidates": trainer.candidates, "samples": len(train._dataset),
           "parameters": sum(p.numel() for p in model.parameters()), "settings": {key: config[key] for key, _, _ in MODELS[name]}}


if args.peer:
    name, seed = args.peer.split(",")
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for answer in recbole(name, int(seed)):
        print(json.dumps(answer), file=out)
    sys.exit()


# ---- Both ----

os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:args.threads])
threads = {name: str(args.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")}
folder = tempfile.TemporaryDirectory()
log = open(f"{folder.name}/log", "w+")


def exact_times():
    """Writes the interactions for RecBole, each user's times as 0, 1, 2 and so on; returns the users' lengths."""
    header, *rows = [line.rstrip("\n").split("\t") for line in open(data / f"{data.name}.inter")]
    user, item, when = [[h.split(":")[0] for h in header].index(f) for f in ("user_id", "item_id", "timestamp")]
    place = collections.Counter()
    os.mkdir(f"{folder.name}/copy")
    with open(f"{folder.name}/copy/copy.inter", "w") as out:
        print("user_id:token\titem_id:token\ttimestamp:float", file=out)
        for row in sorted(rows, key=lambda row: float(row[when])):
            print(row[user], row[item], place[row[user]], sep="\t", file=out)
            place[row[user]] += 1
    return list(place.values())


def peer(name, seed):
    return subprocess.Popen([sys.executable, os.path.abspath(__file__), *sys.argv[1:], f"--data={data}", f"--peer={name},{seed}"],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd=folder.name,
                            env={**os.environ, **threads, **FAIR})


def answer(process, *line):
    print(*line, file=process.stdin, flush=True)
    text = process.stdout.readline()
    if not text:
        sys.exit(open(log.name).read())
    return json.loads(text)


def wgrec(name, samples, seed, *settings):
    """Its metrics.json, folder, and peak in MiB."""
    run = tempfile.mkdtemp(dir=folder.name)
    both = [f"{ours}={value}" for _, ours, value in MODELS[name]]
    own = ["loss.kind=bpr" if name in PAIRWISE else "loss.kind=softmax"]
    if name in ("SASRec", "GRU4Rec"):
        own.append(f"model.positions={'last' if samples == 'prefixes' else 'all'}")
    if name == "SASRec":
        own.append("model.norm=post")
    command = [args.wgrec, "train", name.lower(), "--data", str(data), "--device", "cpu", "--out", run, "--seed", str(seed)]
    process = subprocess.Popen([*command, *(x for s in [*both, *own, *settings] for x in ("--set", s))], stdout=log, stderr=log,
                               env={**os.environ, **threads})
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    if status:
        sys.exit(open(log.name).read())
    return json.load(open(f"{run}/metrics.json")), run, usage.ru_maxrss / 1024


def check(name, theirs, ours, run):
    """Both have learned from the same prefixes, ranked the same targets among as many items, by the same settings."""
    command = [args.wgrec, "eval", "--run", run, "--per-user", f"{run}/users.csv"]
    subprocess.run(command, check=True, stdout=log, stderr=log, env={**os.environ, **threads})
    rows = list(csv.DictReader(open(f"{run}/users.csv")))
    setting = lambda key: ours["settings"][key.split(".")[0]][key.split(".")[1]]
    prefixes = sum(max(n - 3, 0) for n in lengths)
    candidates = sum(ours["data"]["items"] - int(row["events"]) for row in rows)
    assert prefixes == theirs["samples"], (prefixes, theirs["samples"])
    assert sorted([row["user"], row["item"]] for row in rows) == theirs["pairs"], "the test pairs differ"
    assert candidates == theirs["candidates"], (candidates, theirs["candidates"])
    for key, own, value in MODELS[name]:
        assert theirs["settings"][key] == setting(own) == value, (key, theirs["settings"][key], setting(own), value)
    return (f"{prefixes:,} training prefixes, {len(rows)} users with the same test item, {candidates:,} candidates (history "
            f"masked) and {len(MODELS[name])} settings alike; parameters {theirs['parameters']:,} and {ours['parameters']:,}")


def quality():
    seeds = args.seeds.split(",")
    print(f"{data.name}, test, mean of seeds {args.seeds}; L {M}, d {D}; epochs up to {args.epochs}, patience {args.patience}")
    head = f"{'':30}" + "".join(f"{m:>10}" for m in METRICS) + f"{'best epoch':>12}{'minutes':>9}"
    lines, checked = [head], []
    for name in args.models.split(","):
        results = collections.defaultdict(list)
        for seed in seeds:
            theirs = answer(peer(name, seed))
            results["RecBole, prefixes"].append((theirs["test"], theirs["best_epoch"], theirs["seconds"]))
            for samples in SAMPLES[name]:
                every = EVERY if samples == "windows" else 1
                limits = [("train.epochs", args.epochs), ("train.patience", args.patience), ("eval.every", 1)]
                begin = time.time()
                ours, run, _ = wgrec(name, samples, seed, "eval.metric=ndcg@10", *(f"{k}={v * every}" for k, v in limits))
                results[f"wgrec, {samples}"].append((ours["test"], ours["best_epoch"], time.time() - begin))
                same = f"{name}: {check(name, theirs, ours, run)}"
                if same not in checked:
                    checked.append(same)
                    print(same)
            for side, runs in results.items():
                print(f"{name} seed {seed}, {side}: NDCG@10 {runs[-1][0]['ndcg@10']:.4f}, best epoch {runs[-1][1]}", flush=True)
        for side, runs in results.items():
            means = [statistics.mean(test[m] for test, _, _ in runs) for m in METRICS]
            epoch, minutes = (statistics.mean(run[i] for run in runs) for i in (1, 2))
            lines.append(f"{name + ', ' + side:30}" + "".join(f"{x:10.4f}" for x in means) + f"{epoch:12.0f}{minutes / 60:9.1f}")
            if len(runs) > 1:
                sd = [statistics.stdev(test[m] for test, _, _ in runs) for m in METRICS]
                lines.append(f"{'  standard deviation':30}" + "".join(f"{x:10.4f}" for x in sd))
    print("\n".join(lines))


def speed():
    print(f"{data.name}, training, B {B}, L {M}, d {D}, softmax over all items, {args.threads} threads, in turns: "
          f"{args.rounds} rounds of {args.steps} steps; making batches counts; load before {os.getloadavg()[0]:.1f}")
    print(f"{'':30}{'samples/s':>11}{'targets/s':>11}{'ratio':>8}{'MiB':>7}")
    # A window of SASRec and GRU4Rec has all but a user's first item as targets. Those of BERT4Rec are drawn.
    events = [n - 3 for n in lengths if n > 3]
    targets = {"prefixes": 1, "windows": sum(events) / sum(math.ceil(n / M) for n in events)}
    for name in args.models.split(","):
        process, runs = peer(name, 1), collections.defaultdict(list)
        answer(process, WARM)
        for _ in range(args.rounds):
            theirs = answer(process, args.steps)
            runs["RecBole, prefixes"].append((theirs["samples"], theirs["seconds"], theirs["mib"]))
            for samples in SAMPLES[name]:
                limits = (f"train.max_steps={args.steps}", "train.epochs=1000000", "train.patience=0", "eval.every=1000000")
                ours, _, mib = wgrec(name, samples, 1, *limits)
                seconds = ours["train_seconds"]
                runs[f"wgrec, {samples}"].append((ours["samples_per_second"] * seconds, seconds, mib))
        process.communicate()
        rates = {side: sum(n for n, _, _ in all) / sum(s for _, s, _ in all) for side, all in runs.items()}
        for side, rate in rates.items():
            per = targets[side.split()[-1]]
            shown = f"{rate * per:11,.0f}" if name != "BERT4Rec" else f"{'hidden':>11}"
            ratio = f"{rate * (per if name != 'BERT4Rec' else 1) / rates['RecBole, prefixes']:7.2f}x"
            note = f"   ({theirs['beyond_data']:.0f} beyond reading the data)" if side.startswith("RecBole") else ""
            print(f"{name + ', ' + side:30}{rate:11,.0f}{shown}{ratio}{max(m for _, _, m in runs[side]):7.0f}{note}", flush=True)


lengths = exact_times()
quality() if args.what == "quality" else speed()
