"""A learnable filter by torch.fft (FMLP-Rec's filter layer), forward and backward, beside wgrec's `filter` kernel.

    pip install 'torch<2.6' 'numpy<2'
    python benches/peers/filter.py [--dim 64] [--threads 2]

Prints milliseconds at each length, 12,800 places a batch, after running `cargo bench --bench filter`. PyTorch gets denormals
flushed and an allocator that does not return pages (it restarts itself with these settings).
"""
import argparse, os, pathlib, subprocess, sys, time

FAIR = dict(MALLOC_MMAP_MAX_="0", MALLOC_TRIM_THRESHOLD_="9000000000", MALLOC_TOP_PAD_="268435456", THP_MEM_ALLOC_ENABLE="1")
args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
args.add_argument("--dim", type=int, default=64)
args.add_argument("--threads", type=int, default=2)
args = args.parse_args()
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[name] = str(args.threads)
if any(os.environ.get(k) != v for k, v in FAIR.items()):
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **FAIR})

PLACES, RUNS, D = 12_800, 15, args.dim
bench = subprocess.run(["cargo", "bench", "--bench", "filter", "--", str(D)], check=True, text=True, stdout=subprocess.PIPE,
                       cwd=pathlib.Path(__file__).resolve().parents[2], env={k: v for k, v in os.environ.items() if k not in FAIR})
ours = {int(row[0]): float(row[2]) for row in map(str.split, bench.stdout.splitlines()) if row and row[0].isdigit()}

import torch

torch.set_num_threads(args.threads)
torch.set_flush_denormal(True)
torch.manual_seed(1)


def median(t):
    x = torch.randn(PLACES // t, t, D, requires_grad=True)
    weight = torch.randn(t // 2 + 1, D, 2, requires_grad=True)
    dy = torch.randn_like(x)

    def step():
        x.grad = weight.grad = None
        spectrum = torch.fft.rfft(x, dim=1, norm="ortho") * torch.view_as_complex(weight)
        torch.fft.irfft(spectrum, n=t, dim=1, norm="ortho").backward(dy)

    times = []
    for run in range(RUNS + 3):
        start = time.perf_counter()
        step()
        if run >= 3:
            times.append(time.perf_counter() - start)
    return sorted(times)[RUNS // 2] * 1e3


print(bench.stdout, end="")
print(f"PyTorch {torch.__version__}, {args.threads} threads: filter, ms forward and backward")
for t, ms in ours.items():
    theirs = median(t)
    print(f"{t:>6} {theirs:>10.2f}   wgrec {theirs / ms:.2f} times as fast")
