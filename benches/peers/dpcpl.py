"""DPCPL's pre-training step in PyTorch beside wgrec's, on the same data, batch and cores, in turns in one run.

    pip install 'torch<2.6' 'numpy<2'
    cargo build --release && python benches/peers/dpcpl.py --data PATH/taobao [--steps 30] [--rounds 3] [--threads 2]

Events of all behaviours before the cut at 60%, one sample a prefix, B 256, 20 places, d 64, two miners with 4 blocks each, BPR on the next
item and the next behaviour, dropout 0.2, Adam (the item table's update dense in PyTorch, whose sparse Adam has another rule; rows in
wgrec). In the last miner both sides compute the newest place alone behind the filter. Making batches counts on both sides. PyTorch
gets denormals flushed, an allocator that does not return pages, and vectorised numpy for its batches. Prints samples per second,
the ratio, and memory: what PyTorch takes beyond its import, what wgrec takes in all.
"""
import argparse, json, os, pathlib, resource, subprocess, sys, tempfile, time

FAIR = dict(MALLOC_MMAP_MAX_="0", MALLOC_TRIM_THRESHOLD_="9000000000", MALLOC_TOP_PAD_="268435456", THP_MEM_ALLOC_ENABLE="1")
B, T, D, K, LAYERS, WARM = 256, 20, 64, 4, 2, 5
args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
args.add_argument("--data", required=True, help="folder with events.tsv.gz")
args.add_argument("--steps", type=int, default=30, help="steps a round")
args.add_argument("--rounds", type=int, default=3)
args.add_argument("--threads", type=int, default=2)
args.add_argument("--wgrec", default=str(pathlib.Path(__file__).resolve().parents[2] / "target/release/wgrec"))
args.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)  # PyTorch's process
args = args.parse_args()
peak_mib = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# ---- PyTorch, in a process of its own ----

def peer():
    import gzip
    import numpy as np
    import torch
    from torch import nn
    from torch.nn import functional as F
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    imported = peak_mib()
    with gzip.open(pathlib.Path(args.data) / "events.tsv.gz", "rt") as file:
        head = file.readline().split()
        rows = [line.split() for line in file]
    column = lambda name: np.array([row[head.index(name)] for row in rows])
    time_of = column("time").astype(np.int64)
    cut = np.sort(time_of)[int(len(time_of) * 0.6)]
    (users, user), (items, item) = (np.unique(column(name), return_inverse=True) for name in ("user", "item"))
    behaviours, behaviour = np.unique(column("behavior"), return_inverse=True)
    order = np.lexsort((np.arange(len(user)), time_of, user))
    user, item, behaviour, early = user[order], item[order] + 1, behaviour[order] + 1, time_of[order] < cut
    starts = np.searchsorted(user, np.arange(len(users) + 1))
    n, nb = len(items), len(behaviours)
    ends = np.flatnonzero(early & (np.arange(len(user)) > starts[user]))
    back, rng = np.arange(T), np.random.default_rng(1)

    def batches():
        while True:
            shuffled = rng.permutation(ends)
            for at in range(0, len(shuffled) - B + 1, B):
                end = shuffled[at:at + B]
                place = end[:, None] - T + back
                inside = place >= starts[user[end]][:, None]
                place = np.where(inside, place, 0)
                negative, other = rng.integers(1, n + 1, B), (behaviour[end] + rng.integers(0, nb - 1, B)) % nb + 1
                arrays = (np.where(inside, item[place], 0), np.where(inside, behaviour[place], 0), item[end], negative,
                          behaviour[end], other)
                yield [torch.from_numpy(a) for a in arrays]

    class Miner(nn.Module):
        def __init__(self):
            super().__init__()
            weight = lambda: nn.Parameter(torch.randn(2, K, D // K, D // K) * 0.02)
            self.w1, self.w2 = weight(), weight()
            self.b1, self.b2 = nn.Parameter(torch.zeros(2, D)), nn.Parameter(torch.zeros(2, D))
            self.norm1, self.norm2 = nn.LayerNorm(D, eps=1e-12), nn.LayerNorm(D, eps=1e-12)
            self.up, self.down, self.mix = nn.Linear(D, 4 * D), nn.Linear(4 * D, D), nn.Linear((nb + 1) * D, D)
            self.drop = nn.Dropout(0.2)

        def filtered(self, x):
            spectrum = torch.fft.rfft(x, dim=-2, norm="ortho")
            blocks = spectrum.reshape(*spectrum.shape[:-1], K, D // K)
            y = torch.einsum("...kd,kde->...ke", blocks, torch.complex(*self.w1)).flatten(-2) + torch.complex(*self.b1)
            y = torch.complex(F.relu(y.real), F.relu(y.imag)).reshape(blocks.shape)
            y = torch.einsum("...kd,kde->...ke", y, torch.complex(*self.w2)).flatten(-2) + torch.complex(*self.b2)
            return torch.fft.irfft(y, n=x.shape[-2], dim=-2, norm="ortho")

        def forward(self, x, member, used, last):
            x = x[:, None] * member
            y = self.filtered(x)
            if last:
                x, y = x[:, :, -1:], y[:, :, -1:]
            x = self.norm1(x + self.drop(y))
            x = self.norm2(x + self.drop(self.down(F.gelu(self.up(x))))) * used
            return self.mix(x.transpose(1, 2).flatten(-2))

    class Dpcpl(nn.Module):
        def __init__(self):
            super().__init__()
            self.item, self.behaviour = nn.Embedding(n + 1, D, padding_idx=0), nn.Embedding(nb + 1, D, padding_idx=0)
            for table in (self.item, self.behaviour):
                nn.init.normal_(table.weight, std=0.02)
            self.position = nn.Parameter(torch.randn(T, D) * 0.02)
            self.miners, self.drop = nn.ModuleList(Miner() for _ in range(LAYERS)), nn.Dropout(0.2)

        def forward(self, history, behaviours):
            x = self.drop(self.item(history) + self.position + self.behaviour(behaviours))
            own = [history > 0] + [behaviours == b for b in range(1, nb + 1)]
            member = torch.stack(own, 1)[..., None].float()
            used = member.amax(2, keepdim=True)
            for l, miner in enumerate(self.miners):
                x = miner(x, member, used, l + 1 == LAYERS)
            return x[:, 0]

    model = Dpcpl()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    source = batches()
    for line in sys.stdin:
        begin = time.perf_counter()
        for _ in range(int(line)):
            history, behaviours, positive, negative, is_, other = next(source)
            u = model(history, behaviours)
            score = lambda table, a, b: (u * (table(a) - table(b))).sum(-1)
            loss = (F.softplus(-score(model.item, positive, negative)) + F.softplus(-score(model.behaviour, is_, other))).mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        seconds = time.perf_counter() - begin
        print(json.dumps(dict(rate=int(line) * B / seconds, mib=peak_mib() - imported)), flush=True)


# ---- both in turns ----

def wgrec(steps, folder):
    """Samples a second of a pre-training that is so long, and its peak memory."""
    settings = [f"data.max_len={T}", f"model.dim={D}", f"model.layers={LAYERS}", f"model.blocks={K}", f"phase.pretrain.batch={B}",
                f"phase.pretrain.max_steps={steps}", "eval.protocol=sampled:100", f"log.every={steps}", 'phases=["pretrain"]']
    command = [args.wgrec, "train", "dpcpl", "--data", args.data, "--device", "cpu", "--out", folder]
    command += [part for setting in settings for part in ("--set", setting)]
    run = subprocess.run(command, env={**os.environ, "RAYON_NUM_THREADS": str(args.threads)}, capture_output=True, text=True)
    if run.returncode:
        sys.exit(run.stderr)
    lines = (pathlib.Path(folder) / "pretrain.jsonl").read_text().splitlines()
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return json.loads(lines[-1])["samples_per_second"], peak


if args.peer:
    peer()
    sys.exit()
environment = {**os.environ, **FAIR, "OMP_NUM_THREADS": str(args.threads)}
with tempfile.TemporaryDirectory() as folder:
    ours = [wgrec(args.steps + WARM, f"{folder}/{i}") for i in range(args.rounds)]
    child = subprocess.Popen([sys.executable, __file__, "--peer", "--data", args.data, "--threads", str(args.threads)],
                             env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(steps):
        child.stdin.write(f"{steps}\n")
        child.stdin.flush()
        return json.loads(child.stdout.readline())

    ask(WARM)
    theirs = []
    for i in range(args.rounds):
        theirs.append(ask(args.steps))
        ours.append(wgrec(args.steps + WARM, f"{folder}/again-{i}"))
    child.stdin.close()
    child.wait()
median = lambda values: sorted(values)[len(values) // 2]
us, them = median([rate for rate, _ in ours]), median([t["rate"] for t in theirs])
print(f"DPCPL, pre-training step: wgrec {us:,.0f} samples/s, PyTorch {them:,.0f}: {us / them:.2f}x")
print(f"memory: wgrec {max(m for _, m in ours):,.0f} MiB in all (data and validation too), PyTorch {theirs[-1]['mib']:,.0f} MiB beyond its import")
