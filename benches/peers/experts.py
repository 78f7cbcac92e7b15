"""A mixture of experts over features in PyTorch, eager, next to wgrec's, in turns in one run: time and memory.

    pip install 'torch<2.6' 'numpy<2'
    python benches/peers/experts.py [--rows 4096] [--width 768] [--rounds 3] [--threads 2]

Eight experts to 64 columns, dropout .2 of the features, gates with noise, gradients of all parameters. PyTorch makes one product of all
experts and weighs it (so that it keeps what each expert made of each row). Memory is the most that the process holds, less what it held
before the first step. PyTorch gets denormals flushed and an allocator that does not return pages (it restarts itself with these settings).
"""
import argparse, os, pathlib, subprocess, sys, time

FAIR = dict(MALLOC_MMAP_MAX_="0", MALLOC_TRIM_THRESHOLD_="9000000000", MALLOC_TOP_PAD_="268435456", THP_MEM_ALLOC_ENABLE="1")
args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
args.add_argument("--rows", type=int, default=4096)
args.add_argument("--width", type=int, default=768)
args.add_argument("--rounds", type=int, default=3)
args.add_argument("--runs", type=int, default=20)
args.add_argument("--threads", type=int, default=2)
args.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
args = args.parse_args()
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[name] = str(args.threads)
if not args.memory and any(os.environ.get(k) != v for k, v in FAIR.items()):
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **FAIR})
ROOT = pathlib.Path(__file__).resolve().parents[2]
OURS = {k: v for k, v in os.environ.items() if k not in FAIR}
N, A, K, D = args.rows, args.width, 8, 64

import torch
from torch.nn import functional as F

torch.set_num_threads(args.threads)
torch.set_flush_denormal(True)
torch.manual_seed(1)
x, dy = torch.randn(N, A), torch.randn(N, D)
p = lambda *shape: torch.nn.Parameter(torch.randn(*shape) / A**0.5)
W, b, gate, spread = p(A, K * D), p(K, A), p(A, K), p(A, K)


def step(_=0):
    alpha = torch.softmax(x @ gate + torch.randn(N, K) * (F.softplus(x @ spread) + 0.01), -1)
    made = (F.dropout(x, 0.2) @ W).view(N, K, D) - torch.einsum("ka,akd->kd", b, W.view(A, K, D))
    z = torch.einsum("nk,nkd->nd", alpha, made)
    torch.autograd.grad((z * dy).sum(), [W, b, gate, spread])


def most():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1e3


def median(f, runs):
    times = []
    for i in range(runs + 2):
        begin = time.perf_counter()
        f(i)
        times.append(time.perf_counter() - begin)
    return sorted(times[2:])[runs // 2] * 1e3


if args.memory:
    before = most()
    for _ in range(3):
        step()
    print(most() - before)
    sys.exit()


def ours():
    out = subprocess.run(["cargo", "bench", "--quiet", "--bench", "experts", "--", str(N), str(A), "cpu", str(args.runs)], check=True,
                         text=True, stdout=subprocess.PIPE, cwd=ROOT, env=OURS).stdout
    return tuple(float(out.split(f"experts {unit}")[1].split()[0]) for unit in ("ms", "MB"))


print(f"PyTorch {torch.__version__}, {args.threads} threads, {N} rows of {A}; load before {os.getloadavg()[0]:.1f}")
ours()  # compiles it
rounds = [(median(step, args.runs), *ours()) for _ in range(args.rounds)]
theirs, ms, mb = (sorted(side)[len(rounds) // 2] for side in zip(*rounds))
memory = float(subprocess.run([sys.executable, *sys.argv, "--memory"], check=True, text=True, stdout=subprocess.PIPE, env=OURS).stdout)
print(f"time    PyTorch {theirs:8.2f} ms, wgrec {ms:8.2f} ms, {theirs / ms:.2f} times")
print(f"memory  PyTorch {memory:8.1f} MB, wgrec {mb:8.1f} MB, {mb / memory:.2f} of it")
