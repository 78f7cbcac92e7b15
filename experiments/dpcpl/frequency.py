"""HR@10 of runs on Taobao by how often the target's item occurs before the cut, where the backbone learns, and behind it.

    wgrec eval --run RUN --per-user RUN.csv    (for each run)
    python experiments/dpcpl/frequency.py --data PATH/taobao RUN.csv RUN.csv...

The 60% of the events before the cut are those of all behaviours; behind it the buys count that training may learn from, which are
all but each user's last two.
"""
import argparse, collections, csv, gzip, pathlib

args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
args.add_argument("--data", required=True, help="folder with events.tsv.gz")
args.add_argument("runs", nargs="+", help="what `wgrec eval --per-user` wrote")
args = args.parse_args()

with gzip.open(pathlib.Path(args.data) / "events.tsv.gz", "rt") as file:
    events = [(e["user"], e["item"], e["behavior"], int(e["time"])) for e in csv.DictReader(file, delimiter="\t")]
cut = sorted(time for *_, time in events)[len(events) * 6 // 10]
before = collections.Counter(item for _, item, _, time in events if time < cut)
buys = collections.defaultdict(list)
for user, item, behaviour, time in events:
    if behaviour == "buy":
        buys[user].append((time, item))
behind = collections.Counter(item for all in buys.values() for time, item in sorted(all)[:-2] if time >= cut)

BOUNDS = [0, 1, 5, 20, 10**9]
for name, count in (("events before the cut", before), ("buys behind it", behind)):
    print(f"{name:24}", *(f"{f'{low}' if high == low + 1 else f'{low} to {high - 1}' if high < 10**9 else f'{low} and more':>18}"
                         for low, high in zip(BOUNDS, BOUNDS[1:])))
    for path in args.runs:
        hits = collections.defaultdict(list)
        for row in csv.DictReader(open(path)):
            group = max(i for i, low in enumerate(BOUNDS) if count[row["item"]] >= low)
            hits[group].append(float(row["recall@10"]))
        cells = (hits[i] for i in range(len(BOUNDS) - 1))
        print(f"{pathlib.Path(path).stem:24}", *(f"{sum(c) / max(len(c), 1):9.3f} of {len(c):5}" for c in cells))
