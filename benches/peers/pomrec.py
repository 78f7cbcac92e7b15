"""PoMRec's training step in PyTorch beside wgrec's, on the same data, batch and cores, in one run.

    pip install 'torch<2.6' 'numpy<2'
    cargo build --release && python benches/peers/pomrec.py --data PATH/ml-1m [--steps 600] [--threads 2]

Prints samples per second of both (batch making counted), the ratio, and memory: what PyTorch takes beyond its import,
what wgrec takes in all. PyTorch gets denormals flushed and an allocator that does not return pages (it restarts itself
with these settings); its batches are made by vectorised numpy. The model is the paper's: equations 1 to 11.
"""
import argparse, gzip, json, os, pathlib, resource, subprocess, sys, tempfile, time

FAIR = dict(MALLOC_MMAP_MAX_="0", MALLOC_TRIM_THRESHOLD_="9000000000", MALLOC_TOP_PAD_="268435456", THP_MEM_ALLOC_ENABLE="1")
args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
args.add_argument("--data", required=True, help="folder with ratings.dat or ratings.dat.gz")
args.add_argument("--steps", type=int, default=600)
args.add_argument("--threads", type=int, default=2)
args.add_argument("--wgrec", default=str(pathlib.Path(__file__).resolve().parents[2] / "target/release/wgrec"))
args = args.parse_args()
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[name] = str(args.threads)
if any(os.environ.get(k) != v for k, v in FAIR.items()):
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **FAIR})

peak_mib = lambda who=resource.RUSAGE_SELF: resource.getrusage(who).ru_maxrss / 1024
B, M, D, DP, K, NP, LAMBDA, WARM = 256, 20, 64, 8, 2, 4, 4.0, 100


def wgrec():
    with tempfile.TemporaryDirectory() as folder:
        run = lambda steps, out: subprocess.run(
            [args.wgrec, "train", "pomrec", "--data", args.data, "--device", "cpu", "--out", f"{folder}/{out}",
             *[x for s in (f"train.max_steps={steps}", "data.max_len=20", "eval.protocol=sampled:99",
                           f"model.interests={K}", f"model.prompts={NP}", f"model.dispersion={LAMBDA}") for x in ("--set", s)]],
            check=True, stdout=subprocess.DEVNULL, env={k: v for k, v in os.environ.items() if k not in FAIR})
        run(WARM, "warm")
        run(WARM + args.steps, "run")
        return json.load(open(f"{folder}/run/metrics.json"))["samples_per_second"], peak_mib(resource.RUSAGE_CHILDREN)


# Before PyTorch is imported: a child's peak starts at its parent's size.
ours, ours_mib = wgrec()

import numpy as np
import torch
import torch.nn.functional as F


def histories(folder):
    """Items 1..n of each user in order of time, without the last two (test and validation)."""
    path = next(p for p in (pathlib.Path(folder) / n for n in ("ratings.dat", "ratings.dat.gz")) if p.exists())
    text = (gzip.open if path.suffix == ".gz" else open)(path, "rt")
    rows = np.array([line.split("::") for line in text], dtype=np.int64)
    rows = rows[np.lexsort((np.arange(len(rows)), rows[:, 3], rows[:, 0]))]
    _, user = np.unique(rows[:, 0], return_inverse=True)
    names, item = np.unique(rows[:, 1], return_inverse=True)
    starts = np.searchsorted(user, np.arange(user[-1] + 2))
    return starts, item + 1, len(names)


class PomRec(torch.nn.Module):
    def __init__(self, items):
        super().__init__()
        p = lambda *shape: torch.nn.Parameter(torch.randn(*shape) * 0.01)
        self.item, self.pos = torch.nn.Embedding(items + 1, D), p(M, D)
        torch.nn.init.normal_(self.item.weight, std=0.01)
        self.pf, self.pg = p(NP, D), p(NP, D)
        self.wf1, self.wf2, self.wg1, self.wg2 = p(DP, D), p(K, DP), p(DP, D), p(1, DP)
        self.wm1, self.bm1, self.wm2, self.bm2 = p(DP, D), p(DP), p(K, DP), p(K)

    def attend(self, h, w1, w2, mask):
        return torch.softmax((torch.tanh(h @ w1.T) @ w2.T).masked_fill(mask, -torch.inf), 1)

    def forward(self, history, positive, negative):
        b = len(history)
        valid = history > 0
        e = (self.item(history) + self.pos) * valid[..., None]
        mask = torch.cat([torch.zeros(b, NP, dtype=torch.bool), ~valid], 1)[..., None]
        hf = torch.cat([self.pf.expand(b, -1, -1), e], 1)
        hg = torch.cat([self.pg.expand(b, -1, -1), e], 1)
        a = self.attend(hf, self.wf1, self.wf2, mask)
        mean = a.transpose(1, 2) @ hf
        spread = torch.einsum("btkd,btk->bkd", (hf[:, :, None] - mean[:, None]) ** 2, a).sqrt()
        v = (self.attend(hg, self.wg1, self.wg2, mask).transpose(1, 2) @ hg)[:, 0]
        z = torch.tanh(v @ self.wm1.T + self.bm1) @ self.wm2.T + self.bm2
        user = ((mean + LAMBDA * spread) * z[..., None]).sum(1)
        return -F.logsigmoid((user * self.item(positive)).sum(-1) - (user * self.item(negative)).sum(-1)).mean()


def batches(starts, item, n, rng):
    """Endless batches of (history, positive, negative): each prefix a sample, negatives outside the training items."""
    users = np.arange(len(starts) - 1)
    length = starts[1:] - starts[:-1] - 2
    seen = np.zeros((len(users), n + 1), dtype=bool)
    for u in users:
        seen[u, item[starts[u]:starts[u] + length[u]]] = True
    target_user = np.repeat(users, np.maximum(length - 1, 0))
    first = np.cumsum(np.maximum(length - 1, 0)) - np.maximum(length - 1, 0)
    target = np.arange(len(target_user)) - first[target_user] + 1
    back = np.arange(M) - M
    while True:
        order = rng.permutation(len(target_user))
        for at in range(0, len(order) - B + 1, B):
            u, t = target_user[order[at:at + B]], target[order[at:at + B]]
            place = t[:, None] + back
            history = np.where(place >= 0, item[starts[u][:, None] + np.maximum(place, 0)], 0)
            negative = rng.integers(1, n + 1, B)
            while (bad := seen[u, negative]).any():
                negative[bad] = rng.integers(1, n + 1, bad.sum())
            yield torch.from_numpy(history), torch.from_numpy(item[starts[u] + t]), torch.from_numpy(negative)


def pytorch():
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    imported = peak_mib()
    model = None
    starts, item, n = histories(args.data)
    read = peak_mib()
    model = PomRec(n)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    source = batches(starts, item, n, np.random.default_rng(1))
    for step in range(WARM + args.steps):
        if step == WARM:
            begin = time.perf_counter()
        loss = model(*next(source))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    seconds = time.perf_counter() - begin
    # Reading text into numpy is not training: only what training adds beyond it counts, to PyTorch's advantage.
    return args.steps * B / seconds, peak_mib() - imported, peak_mib() - max(read, imported)


theirs, beyond_import, beyond_read = pytorch()
print(f"PoMRec training step, B {B}, M {M}, d {D}, K {K}, {args.threads} threads, torch {torch.__version__}")
print(f"{'':10} {'samples/s':>12} {'MiB':>8}")
print(f"{'wgrec':10} {ours:12,.0f} {ours_mib:8.0f}   (the whole process)")
print(f"{'PyTorch':10} {theirs:12,.0f} {beyond_import:8.0f}   (beyond its import; {beyond_read:.0f} beyond reading the data)")
print(f"{'ratio':10} {ours / theirs:11.2f}x {ours_mib / beyond_import:7.2f}x")
