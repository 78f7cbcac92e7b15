"""Trustworthiness at 10 neighbours of the map of `wgrec plot interests`, and of scikit-learn's t-SNE of the same vectors.

    python benches/peers/tsne.py --run runs/pomrec-1 [--wgrec PROGRAM] [--users A,B,C]

pip: numpy scikit-learn
"""

import argparse
import csv
import json
import pathlib
import subprocess
import tempfile

import numpy as np
from sklearn.manifold import TSNE, trustworthiness

parser = argparse.ArgumentParser()
parser.add_argument("--run", required=True)
parser.add_argument("--wgrec", default="wgrec")
parser.add_argument("--users", help="default: those that the rule chooses")
parser.add_argument("--seeds", type=int, default=5)
args = parser.parse_args()


def rows(path):
    """Ids of the rows of an export, and its tensors."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        head, data = json.loads(file.read(size)), file.read()
    tensors = {
        name: np.frombuffer(data[slice(*about["data_offsets"])], "<f4").reshape(about["shape"])
        for name, about in head.items()
        if name != "__metadata__"
    }
    with open(path.with_suffix(".ids.tsv"), newline="") as file:
        return list(csv.DictReader(file, delimiter="\t")), tensors


with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)

    def wgrec(*rest):
        print(subprocess.run([args.wgrec, *rest, "--run", args.run], check=True, capture_output=True, text=True).stdout)

    for what in ["items", "interests"]:
        wgrec("export", what, "--output", str(folder / f"{what}.safetensors"))
    users = ["--users", args.users] if args.users else []
    wgrec("plot", "interests", *users, "--points", str(folder / "map.csv"), "--output", str(folder / "map.svg"))
    ids, tensors = rows(folder / "items.safetensors")
    vectors = {("", "", row["item"]): vector for row, vector in zip(ids, tensors["vector"])}
    ids, tensors = rows(folder / "interests.safetensors")
    vectors |= {(row["user"], row["interest"], ""): vector for row, vector in zip(ids, tensors["centre"])}
    with open(folder / "map.csv", newline="") as file:
        points = list(csv.DictReader(file))

x = np.array([vectors[row["user"], row["interest"], row["item"]] for row in points], dtype=np.float64)
places = np.array([[row["x"], row["y"]] for row in points], dtype=np.float64)


def trust(places):
    return trustworthiness(x, places, n_neighbors=10)


print(f"{len(x)} points, {x.shape[1]} wide")
print(f"wgrec                     {trust(places):.4f}")
perplexity = min(30, (len(x) - 1) // 3)
print(f"scikit-learn, from PCA    {trust(TSNE(perplexity=perplexity, init='pca', random_state=0).fit_transform(x)):.4f}")
drawn = [
    trust(TSNE(perplexity=perplexity, init="random", random_state=seed).fit_transform(x)) for seed in range(args.seeds)
]
print(f"scikit-learn, {args.seeds} random   {np.mean(drawn):.4f} ({min(drawn):.4f} to {max(drawn):.4f})")
