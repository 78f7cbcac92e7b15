"""A learnable filter by torch.fft (FMLP-Rec's) and DPCPL's efficient filter layer, forward and backward, beside wgrec's.

    pip install 'torch<2.6' 'numpy<2'
    python benches/peers/filter.py [--dim 64] [--threads 2]

Prints milliseconds (and wgrec's megabytes) at each length, 12,800 places a batch, after running `cargo bench --bench filter`.
PyTorch gets denormals flushed and an allocator that does not return pages (it restarts itself with these settings).
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

PLACES, RUNS, D, BLOCKS = 12_800, 15, args.dim, 4
bench = subprocess.run(["cargo", "bench", "--bench", "filter", "--", str(D)], check=True, text=True, stdout=subprocess.PIPE,
                       cwd=pathlib.Path(__file__).resolve().parents[2], env={k: v for k, v in os.environ.items() if k not in FAIR})
ours = {int(row[0]): [float(ms) for ms in row[2:4]] for row in map(str.split, bench.stdout.splitlines()) if row and row[0].isdigit()}

import torch

torch.set_num_threads(args.threads)
torch.set_flush_denormal(True)
torch.manual_seed(1)


def filter(x, weight):
    spectrum = torch.fft.rfft(x, dim=1, norm="ortho") * torch.view_as_complex(weight)
    return torch.fft.irfft(spectrum, n=x.shape[1], dim=1, norm="ortho")


def linear(re, im, weight, bias):
    product = lambda x, w: torch.einsum("btna,nac->btnc", x, w)
    return product(re, weight[0]) - product(im, weight[1]) + bias[0], product(re, weight[1]) + product(im, weight[0]) + bias[1]


def layer(x, w1, b1, w2, b2):
    spectrum = torch.fft.rfft(x, dim=1, norm="ortho").reshape(x.shape[0], -1, BLOCKS, D // BLOCKS)
    re, im = linear(spectrum.real, spectrum.imag, w1, b1)
    re, im = linear(torch.relu(re), torch.relu(im), w2, b2)
    spectrum = torch.complex(re, im).reshape(x.shape[0], -1, D)
    return torch.fft.irfft(spectrum, n=x.shape[1], dim=1, norm="ortho")


def median(t, f, *shapes):
    x = torch.randn(PLACES // t, t, D, requires_grad=True)
    weights = [torch.randn(shape, requires_grad=True) for shape in shapes]
    dy = torch.randn_like(x)
    times = []
    for run in range(RUNS + 3):
        start = time.perf_counter()
        for v in (x, *weights):
            v.grad = None
        f(x, *weights).backward(dy)
        if run >= 3:
            times.append(time.perf_counter() - start)
    return sorted(times)[RUNS // 2] * 1e3


WIDTH = D // BLOCKS
MLP = [(2, BLOCKS, WIDTH, WIDTH), (2, BLOCKS, WIDTH)] * 2
print(bench.stdout, end="")
print(f"PyTorch {torch.__version__}, {args.threads} threads: filter and layer, ms forward and backward, and how many times wgrec's")
for t, (fused, mlp) in ours.items():
    theirs = median(t, filter, (t // 2 + 1, D, 2)), median(t, layer, *MLP)
    print(f"{t:>6} {theirs[0]:>10.2f} {theirs[1]:>10.2f}   {theirs[0] / fused:.2f} {theirs[1] / mlp:.2f}")
