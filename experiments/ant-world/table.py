#!/usr/bin/env python3
"""ANT adapted to domain E by gb, ft and rel: three worlds, three strengths of conflict, 100 or 500 of 2,000 users to learn from.

  experiments/ant-world/table.py [--wgrec target/release/wgrec] [--out runs/ant-world]

A run that is there already is not trained again; one that was stopped is resumed. Some six hours of one core. Prints means over the
worlds (NDCG@10 / Recall@10 of the 2,000 users' targets) and differences, paired over the 6,000 users of all worlds, with 95% intervals."""
import argparse, csv, math, pathlib, subprocess

here = pathlib.Path(__file__).parent
args = argparse.ArgumentParser()
args.add_argument("--wgrec", default="target/release/wgrec")
args.add_argument("--out", default="runs/ant-world", type=pathlib.Path)
args = args.parse_args()
args.out.mkdir(parents=True, exist_ok=True)

def run(*command):
    subprocess.run([args.wgrec, *map(str, command)], check=True, stdout=subprocess.DEVNULL)

def train(out, config, *more):
    if not (out / ("pretrain.json" if config == "pretrain" else "metrics.json")).is_file():
        run("train", "ant", "--device", "cpu", "--config", here / f"{config}.toml", "--out", out, "--resume", *more)

def values(world, kappa, users, adapt):
    """NDCG@10 and Recall@10 of each user."""
    out = args.out / f"{adapt}-{world}-{kappa}-{users}"
    more = [] if adapt == "gb" else ["--from", args.out / f"pre-{world}"]
    seeds = ["--seed", world, "--set", f"world_seed={world}"]
    train(out, adapt, *more, *seeds, "--set", f"world.kappa={kappa}", "--set", f"data.learn_users={users}")
    run("eval", "--run", out, "--device", "cpu", "--per-user", out / "ranks.csv")
    with open(out / "ranks.csv") as file:
        return {row["user"]: (float(row["ndcg@10"]), float(row["recall@10"])) for row in csv.DictReader(file)}

def interval(differences):
    n, mean = len(differences), sum(differences) / len(differences)
    error = math.sqrt(sum((x - mean) ** 2 for x in differences) / (n - 1) / n)
    return f"{mean:+.4f} [{mean - 1.96 * error:+.4f}, {mean + 1.96 * error:+.4f}]"

worlds, all = (1, 2, 3), {}
for world in worlds:
    train(args.out / f"pre-{world}", "pretrain", "--seed", world, "--set", f"world_seed={world}")
for users in (100, 500):
    for kappa in ("0", "0.5", "1"):
        for adapt in ("gb", "ft", "rel"):
            all[users, kappa, adapt] = [values(world, kappa, users, adapt) for world in worlds]
        def mean(adapt, i):
            return sum(sum(user[i] for user in world.values()) / len(world) for world in all[users, kappa, adapt]) / len(worlds)
        def difference(a, b):
            pairs = zip(all[users, kappa, a], all[users, kappa, b])
            return interval([x[user][0] - y[user][0] for x, y in pairs for user in x])
        means = "  ".join(f"{adapt} {mean(adapt, 0):.4f} / {mean(adapt, 1):.4f}" for adapt in ("gb", "ft", "rel"))
        print(f"{users} users, kappa {kappa}: {means}")
        print("  " + "  ".join(f"{a} - {b}: {difference(a, b)}" for a, b in (("rel", "gb"), ("ft", "gb"), ("ft", "rel"))))
for kappa in ("0", "0.5", "1"):
    for adapt in ("ft", "rel"):
        def gain(users, world, user):
            return all[users, kappa, adapt][world][user][0] - all[users, kappa, "gb"][world][user][0]
        both = [(world, user) for world in range(len(worlds)) for user in all[100, kappa, "gb"][world]]
        print(f"kappa {kappa}, {adapt} - gb with 100 users less that with 500:", interval([gain(100, *u) - gain(500, *u) for u in both]))
