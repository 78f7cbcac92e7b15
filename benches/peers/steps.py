"""Training steps of PoMRec, ComiRec, MIND, SASRec and GRU4Rec in PyTorch beside wgrec's, on the same data, batch and cores, in turns in one run.

    pip install 'torch<2.6' 'numpy<2'
    cargo build --release && python benches/peers/steps.py --data PATH/ml-1m [--rows pomrec:20,comirec:20,mind:20,sasrec:50,sasrec:200,gru4rec-last:50]
                                                           [--steps 20] [--rounds 3] [--threads 2] [--compile] [--device cpu|gpu]

5-core, leave-one-out, B 128, d 64, softmax over all items with a target at every place (SASRec as published: two blocks, one head,
dropout 0.2; GRU4Rec: one layer, hidden 128).
`gru4rec-last` and `sasrec-last` are one sample a prefix, B 256, the loss at its end alone. PoMRec is the paper's (equations 1 to 11,
K 2, N_p 4, lambda 4), one sample a prefix with one negative, B 256, no k-core; the rounds have ten times as many of its steps.
ComiRec (self-attentive, as released) and MIND have K 4, and else what PoMRec has; the interest nearest to the target is trained, by the
softmax over all items, or in `comirec-bpr` and `mind-bpr` with one negative.
Making batches counts on both sides. Blocks run over padded places on both sides, losses skip them on both. PyTorch gets denormals
flushed, an allocator that does not return pages, vectorised numpy for its batches, and with --compile torch.compile as well. Prints
samples per second, the ratio, and memory: what PyTorch takes beyond its import, what wgrec takes in all. On a GPU (PyTorch: CUDA;
wgrec: what `wgrec devices` shows) memory is what PyTorch's tensors took on it, and what wgrec's plan foretells.
"""
import argparse, json, math, os, pathlib, resource, subprocess, sys, tempfile, time

FAIR = dict(MALLOC_MMAP_MAX_="0", MALLOC_TRIM_THRESHOLD_="9000000000", MALLOC_TOP_PAD_="268435456", THP_MEM_ALLOC_ENABLE="1")
D, H, WARM = 64, 128, 5
DP, K, NP, LAMBDA = 8, 2, 4, 4.0  # PoMRec
INTERESTS, ROUNDS = 4, 3  # ComiRec and MIND
PREFIXES = ["pomrec", "comirec", "mind"]  # one sample a prefix, no k-core
args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
args.add_argument("--data", required=True, help="folder with ratings.dat or ratings.dat.gz")
args.add_argument("--rows", default="pomrec:20,comirec:20,mind:20,sasrec:50,sasrec:200,gru4rec-last:50")
args.add_argument("--steps", type=int, default=20, help="PyTorch's steps a round; wgrec's bench takes ten seconds")
args.add_argument("--rounds", type=int, default=3)
args.add_argument("--threads", type=int, default=2)
args.add_argument("--compile", action="store_true")
args.add_argument("--device", default="cpu", choices=["cpu", "gpu"])
args.add_argument("--wgrec", default=str(pathlib.Path(__file__).resolve().parents[2] / "target/release/wgrec"))
args.add_argument("--peer", help=argparse.SUPPRESS)  # PyTorch's process: model, window, eager or compile
args = args.parse_args()
peak_mib = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def split(name):
    """Model, whether a sample is a prefix, and whether it has one negative."""
    model = name.removesuffix("-last").removesuffix("-bpr")
    return model, name.endswith("-last") or model in PREFIXES, model == "pomrec" or name.endswith("-bpr")


# ---- PyTorch, in a process of its own ----

def peer(name, window, how):
    import numpy as np
    import torch
    from torch import nn
    from torch.nn import functional as F
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    device = torch.device("cuda" if args.device == "gpu" else "cpu")
    imported = peak_mib()
    model_name, last, one_negative = split(name)
    batch = 256 if last else 128

    def histories():
        """Items 1..n of each user in order of time; 5-core, except for PREFIXES."""
        path = next(p for p in (pathlib.Path(args.data) / n for n in ("ratings.dat", "ratings.dat.gz")) if p.exists())
        import gzip
        rows = np.array([line.split("::") for line in (gzip.open if path.suffix == ".gz" else open)(path, "rt")], dtype=np.int64)
        least = 1 if model_name in PREFIXES else 5
        while True:
            users, items = (np.unique(rows[:, i], return_inverse=True, return_counts=True) for i in (0, 1))
            keep = (users[2][users[1]] >= least) & (items[2][items[1]] >= least)
            if keep.all():
                break
            rows = rows[keep]
        order = np.lexsort((np.arange(len(rows)), rows[:, 3], users[1]))
        user, item = users[1][order], items[1][order] + 1
        starts = np.searchsorted(user, np.arange(user[-1] + 2))
        return starts, item, len(items[0])

    starts, item, n = histories()
    read = peak_mib()
    lengths = starts[1:] - starts[:-1] - 2

    def batches():
        """Endless batches of (history, targets, sizes or negatives); GRU4Rec's padded on the right, others' on the left."""
        rng = np.random.default_rng(1)
        back = np.arange(window)
        if one_negative:
            seen = np.zeros((len(lengths), n + 1), dtype=bool)
            for u, l in enumerate(lengths):
                seen[u, item[starts[u]:starts[u] + l]] = True
        if last:
            ends = [np.arange(1, l) for l in lengths]
            user, end = np.repeat(np.arange(len(ends)), [len(e) for e in ends]), np.concatenate(ends)
        else:
            windows = [(u, e) for u, l in enumerate(lengths) for e in range(l - 1, 0, -window)]
            user, end = np.array(windows).T
        while True:
            order = rng.permutation(len(user))
            for at in range(0, len(order) - batch + 1, batch):
                u, e = user[order[at:at + batch]], end[order[at:at + batch]]
                size = np.minimum(e, window)
                first = np.zeros_like(size) if model_name == "gru4rec" else window - size
                place = back - first[:, None]
                inside = (place >= 0) & (place < size[:, None])
                source = starts[u][:, None] + (e - size)[:, None] + np.where(inside, place, 0)
                history = np.where(inside, item[source], 0)
                target = item[starts[u] + e] if last else np.where(inside, item[source + 1], 0)
                others = [size]
                if one_negative:
                    negative = rng.integers(1, n + 1, batch)
                    while (bad := seen[u, negative]).any():
                        negative[bad] = rng.integers(1, n + 1, bad.sum())
                    others = [negative]
                yield tuple(torch.from_numpy(x).to(device) for x in (history, target, *others))

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norms = nn.ModuleList(nn.LayerNorm(D, eps=1e-8) for _ in range(2))
            self.q, self.k, self.v, self.o, self.up, self.down = (nn.Linear(D, D) for _ in range(6))
            self.drop = nn.Dropout(0.2)

        def forward(self, x, keep, attend):
            q = self.norms[0](x)
            head = lambda v: v[:, None]
            a = F.scaled_dot_product_attention(head(self.q(q)), head(self.k(x)), head(self.v(x)), attn_mask=attend,
                                               dropout_p=0.2 if self.training else 0.0)[:, 0]
            x = self.norms[1](q + self.drop(self.o(a)))
            return (x + self.drop(self.down(self.drop(F.relu(self.up(x)))))) * keep

    class SasRec(nn.Module):
        def __init__(self):
            super().__init__()
            self.item, self.position = nn.Embedding(n + 1, D, padding_idx=0), nn.Parameter(torch.randn(window, D) * 0.02)
            nn.init.normal_(self.item.weight, std=0.02)
            self.blocks, self.norm, self.drop = nn.ModuleList(Block() for _ in range(2)), nn.LayerNorm(D, eps=1e-8), nn.Dropout(0.2)

        def forward(self, history, size):
            keep = (history > 0)[..., None]
            x = self.drop(self.item(history) * math.sqrt(D) + self.position) * keep
            # A padded position attends to itself, so that no row is empty.
            attend = (keep[:, None, :, 0] & torch.ones(window, window, dtype=torch.bool, device=device).tril()) \
                | torch.eye(window, dtype=torch.bool, device=device)
            for block in self.blocks:
                x = block(x, keep, attend[:, None])
            return self.norm(x)

    class Gru4Rec(nn.Module):
        def __init__(self):
            super().__init__()
            self.item, self.drop = nn.Embedding(n + 1, D, padding_idx=0), nn.Dropout(0.2)
            nn.init.normal_(self.item.weight, std=0.02)
            self.gru, self.out = nn.GRU(D, H, batch_first=True), nn.Linear(H, D)

        def forward(self, history, size):
            h = self.gru(self.drop(self.item(history)))[0]
            return self.out(h[torch.arange(len(h), device=device), size - 1] if last else h)

    class PomRec(nn.Module):
        def __init__(self):
            super().__init__()
            p = lambda *shape: nn.Parameter(torch.randn(*shape) * 0.01)
            self.item, self.pos = nn.Embedding(n + 1, D), p(window, D)
            nn.init.normal_(self.item.weight, std=0.01)
            self.pf, self.pg = p(NP, D), p(NP, D)
            self.wf1, self.wf2, self.wg1, self.wg2 = p(DP, D), p(K, DP), p(DP, D), p(1, DP)
            self.wm1, self.bm1, self.wm2, self.bm2 = p(DP, D), p(DP), p(K, DP), p(K)

        def attend(self, h, w1, w2, mask):
            return torch.softmax((torch.tanh(h @ w1.T) @ w2.T).masked_fill(mask, -torch.inf), 1)

        def forward(self, history, positive, negative):
            b = len(history)
            valid = history > 0
            e = (self.item(history) + self.pos) * valid[..., None]
            mask = torch.cat([torch.zeros(b, NP, dtype=torch.bool, device=device), ~valid], 1)[..., None]
            hf = torch.cat([self.pf.expand(b, -1, -1), e], 1)
            hg = torch.cat([self.pg.expand(b, -1, -1), e], 1)
            a = self.attend(hf, self.wf1, self.wf2, mask)
            mean = a.transpose(1, 2) @ hf
            spread = torch.einsum("btkd,btk->bkd", (hf[:, :, None] - mean[:, None]) ** 2, a).sqrt()
            v = (self.attend(hg, self.wg1, self.wg2, mask).transpose(1, 2) @ hg)[:, 0]
            z = torch.tanh(v @ self.wm1.T + self.bm1) @ self.wm2.T + self.bm2
            user = ((mean + LAMBDA * spread) * z[..., None]).sum(1)
            return -F.logsigmoid((user * self.item(positive)).sum(-1) - (user * self.item(negative)).sum(-1)).mean()

    def by_nearest(interests, items, positive, negative):
        """The loss of the interest nearest to the target, of interests (B, K, D)."""
        with torch.no_grad():
            choice = (interests @ items.weight[positive][..., None])[..., 0].argmax(1)
        rows = interests[torch.arange(len(choice), device=device), choice]
        if one_negative:
            return -F.logsigmoid((rows * items(positive)).sum(-1) - (rows * items(negative)).sum(-1)).mean()
        return F.cross_entropy(rows @ items.weight[1:].T, positive - 1)

    class ComiRec(nn.Module):
        def __init__(self):
            super().__init__()
            p = lambda *shape: nn.Parameter(torch.randn(*shape) * 0.01)
            self.item, self.pos = nn.Embedding(n + 1, D), p(window, D)
            nn.init.normal_(self.item.weight, std=0.01)
            self.w1, self.b1, self.w2, self.b2 = p(DP, D), p(DP), p(INTERESTS, DP), p(INTERESTS)

        def forward(self, history, positive, negative):
            valid = (history > 0)[..., None]
            e = self.item(history) * valid
            logits = torch.tanh((e + self.pos) @ self.w1.T + self.b1) @ self.w2.T + self.b2
            a = torch.softmax(logits.masked_fill(~valid, -torch.inf), 1)
            return by_nearest(a.transpose(1, 2) @ e, self.item, positive, negative)

    class Mind(nn.Module):
        def __init__(self):
            super().__init__()
            self.item, self.map = nn.Embedding(n + 1, D), nn.Parameter(torch.randn(D, D) / math.sqrt(D))
            nn.init.normal_(self.item.weight, std=0.01)
            self.register_buffer("logits", torch.randn(INTERESTS, window))
            self.register_buffer("least", torch.tensor([0.0] + [2.0**k for k in range(2, INTERESTS + 1)]))

        def forward(self, history, positive, negative):
            valid = history > 0
            votes = (self.item(history) * valid[..., None]) @ self.map.T
            used = valid.sum(1, keepdim=True) >= self.least
            squash = lambda s: s * ((q := (s * s).sum(-1, keepdim=True)) / ((1 + q) * torch.sqrt(q + 1e-9)))
            with torch.no_grad():
                logits = self.logits.masked_fill(~used[..., None], -torch.inf)
                for _ in range(ROUNDS - 1):
                    logits = logits + squash(torch.softmax(logits, 1) @ votes) @ votes.transpose(1, 2)
                couplings = torch.softmax(logits, 1)
            interests = squash(couplings @ votes)
            return by_nearest(torch.where(used[..., None], interests, interests[:, :1]), self.item, positive, negative)

    models = {"pomrec": PomRec, "comirec": ComiRec, "mind": Mind, "sasrec": SasRec, "gru4rec": Gru4Rec}
    model = models[model_name]().to(device)
    users = model
    if how == "compile":
        users = torch.compile(model)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    source = batches()
    for line in sys.stdin:
        samples, begin = 0, time.perf_counter()
        for _ in range(int(line)):
            history, target, other = next(source)
            if model_name in PREFIXES:
                loss = users(history, target, other)
            else:
                rows = users(history, other)
                if last:
                    rows = rows[:, -1] if model_name == "sasrec" else rows
                else:
                    rows, target = rows[target > 0], target[target > 0]
                loss = F.cross_entropy(rows @ model.item.weight[1:].T, target - 1)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            samples += len(history)
        if args.device == "gpu":
            torch.cuda.synchronize()
        rate = samples / (time.perf_counter() - begin)
        mib = torch.cuda.max_memory_allocated() / 2**20 if args.device == "gpu" else peak_mib() - imported
        yield {"rate": rate, "mib": mib, "beyond_data": peak_mib() - read}


if args.peer:
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    name, window, how = args.peer.split(",")
    for answer in peer(name, int(window), how):
        print(json.dumps(answer), file=out)
    sys.exit()


# ---- Both ----

os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:args.threads])
threads = {name: str(args.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")}


def ask(process, steps):
    print(steps, file=process.stdin, flush=True)
    return json.loads(process.stdout.readline() or sys.exit("PyTorch's process ended"))


def wgrec(name, window):
    model, last, one_negative = split(name)
    with tempfile.TemporaryDirectory() as folder:
        settings = [f"data.max_len={window}", f"train.batch={256 if last else 128}"]
        if model == "pomrec":
            settings += [f"model.interests={K}", f"model.prompts={NP}", f"model.dispersion={LAMBDA}",
                         "model.variant=paper"]
        elif model in PREFIXES:
            settings += [f"model.interests={INTERESTS}", f"loss.kind={'bpr' if one_negative else 'softmax'}"]
        else:
            settings += ["data.min_user=5", "data.min_item=5", "loss.kind=softmax", "model.dropout=0.2",
                         f"model.positions={'last' if last else 'all'}", f"model.layers={2 if model == 'sasrec' else 1}"]
            settings += [f"model.hidden={H}"] if model == "gru4rec" else []
        command = [args.wgrec, "bench", "step", model, "--data", args.data, "--device", args.device, "--json", f"{folder}/step.json"]
        process = subprocess.Popen([*command, *(x for s in settings for x in ("--set", s))], stdout=subprocess.DEVNULL,
                                   env={**os.environ, **threads})
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
        if status:
            sys.exit("wgrec failed")
        facts = json.load(open(f"{folder}/step.json"))["facts"]
        return facts["samples_per_second"], facts["peak_bytes"] / 2**20 if args.device == "gpu" else usage.ru_maxrss / 1024


print(f"training steps, d {D}, {args.threads} threads, {args.rounds} rounds in turns; "
      f"load before {os.getloadavg()[0]:.1f}")
print(f"{'':32}{'samples/s':>11}{'ratio':>8}{'MiB':>8}{'ratio':>8}")
for row in args.rows.split(","):
    name, window = row.split(":")
    start = lambda how: subprocess.Popen([sys.executable, os.path.abspath(__file__), *sys.argv[1:], f"--peer={name},{window},{how}"],
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **threads, **FAIR})
    peers = {how: start(how) for how in ["eager", *["compile"] * args.compile]}
    for process in peers.values():
        ask(process, WARM)
    rates, mib, beyond = {side: [] for side in [*peers, "wgrec"]}, {}, {}
    for _ in range(args.rounds):
        for how, process in peers.items():
            answer = ask(process, args.steps * (10 if split(name)[0] in PREFIXES else 1))
            rates[how].append(answer["rate"])
            mib[how], beyond[how] = answer["mib"], answer["beyond_data"]
        rate, mib["wgrec"] = wgrec(name, window)
        rates["wgrec"].append(rate)
    for process in peers.values():
        process.communicate()
    harmonic = lambda all: len(all) / sum(1 / r for r in all)
    ours = harmonic(rates["wgrec"])
    print(f"{f'{name}, L {window}, wgrec':32}{ours:11,.0f}{'':8}{mib['wgrec']:8.0f}")
    for how in peers:
        print(f"{f'{name}, L {window}, PyTorch {how}':32}{harmonic(rates[how]):11,.0f}{ours / harmonic(rates[how]):7.2f}x{mib[how]:8.0f}"
              f"{mib['wgrec'] / mib[how]:7.2f}x   ({beyond[how]:.0f} beyond reading the data)", flush=True)
