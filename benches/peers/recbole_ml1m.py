"""RecBole beside wgrec on MovieLens-1M, in one run: from the file to the first batch, and full ranking of all users.

    pip install recbole==1.2.1 'torch<2.6' 'numpy<2' 'scipy<1.12' 'pandas<2.2' 'setuptools<70'
    cargo build --release && python benches/peers/recbole_ml1m.py --data PATH/ml-1m [--rounds 3]

wgrec reads ratings.dat(.gz) as it is (`wgrec bench data`: no cache, then from its cache). RecBole gets the same rows as an atomic
file that is written for it before the clock runs, and does what its quick start does: dataset, leave-one-out split, loaders, first
batch of a sequential model with windows of 50; its imports do not count. Ranking is that of SASRec (post-norm, two blocks, d 64,
two heads, inner 256, windows of 50) with untrained parameters over the test targets: `wgrec bench eval`, and RecBole's
`Trainer.evaluate`, with its default batch of 4096 and NDCG and Recall at 10 alone. wgrec masks histories besides, RecBole does not.
"""
import argparse, gzip, json, os, pathlib, subprocess, sys, tempfile, time

FAIR = dict(MALLOC_MMAP_MAX_="0", MALLOC_TRIM_THRESHOLD_="9000000000", MALLOC_TOP_PAD_="268435456", THP_MEM_ALLOC_ENABLE="1")
args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
args.add_argument("--data", required=True, help="folder with ratings.dat or ratings.dat.gz")
args.add_argument("--rounds", type=int, default=3)
args.add_argument("--threads", type=int, default=2)
args.add_argument("--wgrec", default=str(pathlib.Path(__file__).resolve().parents[2] / "target/release/wgrec"))
args.add_argument("--peer", help=argparse.SUPPRESS)  # RecBole's process: the folder of the atomic file
args = args.parse_args()


def recbole(folder):
    sys.path.pop(0)  # This folder has a file of the package's name.
    import numpy as np
    import torch
    np.float = float
    torch.set_num_threads(args.threads)
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.trainer import Trainer
    from recbole.utils import get_model, init_seed
    get_model("SASRec")
    torch.autograd.set_detect_anomaly(False)
    torch.set_flush_denormal(True)
    start = time.perf_counter()
    config = Config(model="SASRec", dataset="copy", config_dict={
        "data_path": folder, "load_col": {"inter": ["user_id", "item_id", "timestamp"]}, "loss_type": "CE",
        "train_neg_sample_args": None, "MAX_ITEM_LIST_LENGTH": 50, "train_batch_size": 256, "use_gpu": False,
        "hidden_size": 64, "inner_size": 256, "n_layers": 2, "n_heads": 2, "metrics": ["Recall", "NDCG"], "topk": [10], "valid_metric": "NDCG@10",
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"}})
    init_seed(1, True)
    train, _, test = data_preparation(config, create_dataset(config))
    next(iter(train))
    read = time.perf_counter() - start
    trainer = Trainer(config, get_model("SASRec")(config, train._dataset))
    ranked = []
    for _ in range(3):
        start = time.perf_counter()
        trainer.evaluate(test, load_best_model=False)
        ranked.append(time.perf_counter() - start)
    return read, min(ranked)


if args.peer:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print(json.dumps(recbole(args.peer)), file=out)
    sys.exit()

threads = {name: str(args.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")}
with tempfile.TemporaryDirectory() as folder:
    path = next(p for p in (pathlib.Path(args.data) / n for n in ("ratings.dat", "ratings.dat.gz")) if p.exists())
    os.mkdir(f"{folder}/copy")
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt") as text, open(f"{folder}/copy/copy.inter", "w") as out:
        print("user_id:token\titem_id:token\ttimestamp:float", file=out)
        for line in text:
            user, item, _, when = line.rstrip("\n").split("::")
            print(user, item, when, sep="\t", file=out)
    theirs, ours = [], {"from file": [], "from cache": [], "ranking": []}
    for _ in range(args.rounds):
        command = [sys.executable, os.path.abspath(__file__), f"--data={args.data}", f"--threads={args.threads}", f"--peer={folder}"]
        theirs.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                           cwd=folder, env={**os.environ, **threads, **FAIR}).stdout))
        for what, of_model in (["data"], []), (["eval", "sasrec"], ["model.norm=post", "model.heads=2", "model.inner=256"]):
            settings = ["data.max_len=50", *of_model]
            command = [args.wgrec, "bench", *what, "--device", "cpu", "--data", args.data, "--json", f"{folder}/ours.json"]
            subprocess.run([*command, *(x for s in settings for x in ("--set", s))], check=True, stdout=subprocess.DEVNULL,
                           env={**os.environ, **threads})
            for row in json.load(open(f"{folder}/ours.json"))["rows"]:
                ours.setdefault(row["name"], []).append(row["seconds"]["median"])

median = lambda all: sorted(all)[len(all) // 2]
read, ranked = (median(all) for all in zip(*theirs))
print(f"{args.threads} threads, medians of {args.rounds} rounds, load after {os.getloadavg()[0]:.1f}")
print(f"{'RecBole, to the first batch':32}{read:9.3f} s")
for case, peer in [("from file", read), ("from cache", read), ("ranking", ranked)]:
    if case == "ranking":
        print(f"{'RecBole, ranking':32}{ranked:9.3f} s")
    print(f"{'wgrec, ' + case:32}{median(ours[case]):9.3f} s{peer / median(ours[case]):9.1f}x")
