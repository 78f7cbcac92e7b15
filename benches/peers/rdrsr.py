"""RDRSR's roll-out and its whole training step in PyTorch, eager, next to wgrec's, in turns in one run.

    pip install 'torch<2.6' 'numpy<2'
    cargo build --release && python benches/peers/rdrsr.py --data PATH/ml-100k [--batch 512] [--rounds 3] [--threads 1]

Windows of 10 events, d 64, 4 interests at most, 99 negatives of each row's own, as printed (no residual connections), drawn numbers
and actions. PyTorch's roll-out takes a step of all windows at a time, eleven in a row. Prints milliseconds and how many times wgrec's
they are. PyTorch gets denormals flushed and an allocator that does not return pages (it restarts itself with these settings), and
batches made beforehand; wgrec makes its own.
"""
import argparse, json, os, pathlib, subprocess, sys, tempfile, time

FAIR = dict(MALLOC_MMAP_MAX_="0", MALLOC_TRIM_THRESHOLD_="9000000000", MALLOC_TOP_PAD_="268435456", THP_MEM_ALLOC_ENABLE="1")
args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
args.add_argument("--data", required=True)
args.add_argument("--batch", type=int, default=512)
args.add_argument("--rounds", type=int, default=3)
args.add_argument("--threads", type=int, default=1)
args = args.parse_args()
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[name] = str(args.threads)
if any(os.environ.get(k) != v for k, v in FAIR.items()):
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **FAIR})
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:args.threads])
ROOT = pathlib.Path(__file__).resolve().parents[2]
OURS = {k: v for k, v in os.environ.items() if k not in FAIR}
B, T, D, K, O, USERS, ITEMS = args.batch, 10, 64, 4, 99, 943, 1682

import torch
from torch import nn
from torch.nn import functional as F

torch.set_num_threads(args.threads)
torch.set_flush_denormal(True)
torch.manual_seed(1)


def gumbel(*shape):
    return -torch.log(-torch.log(torch.rand(*shape).clamp(1e-10, 1 - 1e-7)))


class Rdrsr(nn.Module):
    def __init__(self):
        super().__init__()
        p = lambda *shape: nn.Parameter(torch.randn(*shape) * (2 / sum(shape)) ** 0.5)
        self.item, self.user = nn.Embedding(ITEMS + 1, D), nn.Embedding(USERS + 1, D)
        self.pos, self.wq, self.wkey, self.wv = p(T, D), p(D, D), p(D, D), p(D, D)
        self.w1, self.w2, self.b1, self.b2 = p(D, D), p(D, D), nn.Parameter(torch.zeros(D)), nn.Parameter(torch.zeros(D))
        self.wf1, self.wu, self.wf2, self.wk = p(D, D), p(D, D), p(D, 1), p(K, D)
        self.w0, self.wp1, self.wp2 = p(2 * D + K, D), p(D, D), p(D, K)
        self.bp1, self.bp2 = nn.Parameter(torch.zeros(D)), nn.Parameter(torch.zeros(K))

    def policy(self):
        return [self.w0, self.wp1, self.wp2, self.bp1, self.bp2]

    def rollout(self, eu, events, keep, target, used, z):
        """Interests (B, K, D), the target's (B, K), log probability (B)."""
        P = eu[:, None].expand(-1, K, -1)
        logp, hidden = torch.zeros(len(eu)), ~used
        for t in range(T + 1):
            event = events[:, t] if t < T else target
            alpha = torch.softmax((P @ event[..., None])[..., 0].masked_fill(hidden, -torch.inf), -1)
            state = torch.cat([(alpha[:, None] @ P)[:, 0], event, z], -1) @ self.w0
            logits = (torch.relu(state @ self.wp1 + self.bp1) @ self.wp2 + self.bp2).masked_fill(hidden, -1e4)
            logs = torch.log_softmax(logits, -1)
            action = F.one_hot((logs.detach() + gumbel(len(eu), K)).argmax(-1), K).float()
            step = (logs * action).sum(-1)
            if t == T:
                return P, action, logp + step
            logp = logp + step * keep[:, t]
            moved = (action * keep[:, t, None])[..., None]
            P = P + moved * 0.5 * (event[:, None] - P)

    def forward(self, users, history, positive, negative):
        keep = history > 0
        E, eu = (self.item(history) + self.pos) * keep[..., None], self.user(users)
        mask = torch.zeros(len(E), 1, T).masked_fill(~keep[:, None], -1e4)
        S = torch.softmax((E @ self.wq) @ (E @ self.wkey).transpose(1, 2) / D**0.5 + mask, -1) @ (E @ self.wv)
        events = (torch.relu(S @ self.w1 + self.b1) @ self.w2 + self.b2) * keep[..., None]
        a = ((events @ self.wf1 + (eu @ self.wu)[:, None]) @ self.wf2)[..., 0].masked_fill(~keep, -1e4).softmax(-1)
        logs = torch.log_softmax((a[:, None] @ events)[:, 0] @ self.wk.T, -1) + gumbel(len(E), K)
        used = torch.arange(K) <= logs.argmax(-1)[:, None]
        target = self.item(positive)
        P, action, logp = self.rollout(eu, events, keep.float(), target, used, torch.softmax(logs / 10, -1))
        candidates = torch.cat([target[:, None], self.item(negative)], 1)
        row = (action[:, None] @ P)[:, 0]
        ce = F.cross_entropy((candidates @ row[..., None])[..., 0], torch.zeros(len(E), dtype=torch.long))
        with torch.no_grad():
            share = torch.softmax(P @ candidates.transpose(1, 2), -1)[..., 0]
            h = used.sum(-1)
            gram = (P @ P.transpose(1, 2)).abs() * used[:, None] * used[..., None]
            orthogonal = -(gram.sum((1, 2)) - gram.diagonal(dim1=1, dim2=2).sum(-1)) / (h * (h - 1)).clamp(min=1)
            reward = (share * action).sum(-1) - (share * used).sum(-1) / h + 1e-3 * orthogonal
        return ce - (logp * reward).mean()


model = Rdrsr()
optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
BATCHES = [(torch.randint(1, USERS + 1, (B,)), torch.randint(1, ITEMS + 1, (B, T)), torch.randint(1, ITEMS + 1, (B,)),
            torch.randint(1, ITEMS + 1, (B, O))) for _ in range(8)]
inputs = [torch.randn(B, *shape, requires_grad=True) for shape in ((D,), (T, D), (D,), (K,))]
d_interests, reward, ones = torch.randn(B, K, D), torch.randn(B), torch.ones(B, T)


def step(i):
    loss = model(*BATCHES[i % len(BATCHES)])
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def rollout(i):
    eu, events, target, z = inputs
    P, _, logp = model.rollout(eu, events, ones, target, torch.ones(B, K, dtype=torch.bool), z)
    torch.autograd.grad((P * d_interests).sum() + (logp * reward).sum(), [*model.policy(), *inputs])


def median(f, runs):
    times = []
    for i in range(runs + 2):
        begin = time.perf_counter()
        f(i)
        times.append(time.perf_counter() - begin)
    return sorted(times[2:])[runs // 2] * 1e3


def bench_rollout():
    out = subprocess.run(["cargo", "bench", "--quiet", "--bench", "rollout", "--", str(B)], check=True, text=True,
                         stdout=subprocess.PIPE, cwd=ROOT, env=OURS).stdout
    return float(out.split("rollout ms")[1])


def bench_step():
    with tempfile.TemporaryDirectory() as folder:
        settings = ["data.max_len=10", f"train.batch={B}", "train.negatives=99", "loss.kind=sampled-softmax"]
        subprocess.run([ROOT / "target/release/wgrec", "bench", "step", "rdrsr", "--data", args.data, "--device", "cpu", "--json",
                        f"{folder}/step.json", *(x for s in settings for x in ("--set", s))], check=True,
                       stdout=subprocess.DEVNULL, env=OURS)
        return B / json.load(open(f"{folder}/step.json"))["facts"]["samples_per_second"] * 1e3


print(f"PyTorch {torch.__version__}, {args.threads} threads, B {B}; load before {os.getloadavg()[0]:.1f}")
bench_rollout()  # compiles it
for name, theirs, ours in (("roll-out", lambda: median(rollout, 20), bench_rollout), ("whole step", lambda: median(step, 20), bench_step)):
    rounds = [(theirs(), ours()) for _ in range(args.rounds)]
    a, b = (sorted(side)[len(rounds) // 2] for side in zip(*rounds))
    print(f"{name:12} PyTorch {a:8.2f} ms, wgrec {b:8.2f} ms, {a / b:.2f} times", flush=True)
