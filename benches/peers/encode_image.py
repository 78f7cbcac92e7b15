"""Swin Transformers by transformers, to compare wgrec with: vectors of given pixels, and images a second.

    pip install 'torch<2.6' 'numpy<2' transformers==4.46.3 pillow
    python benches/peers/encode_image.py write DIR [--window 7] [--sizes 224x224 200x180]
    WGREC_GOLDEN_DIR=DIR cargo test --release --test kernels golden::swin
    python benches/peers/encode_image.py time DIR [--batch 8] [--rounds 5] [--threads 2]

`write` makes a model of swin-tiny's shape in DIR/encoders/swin with every tensor drawn anew (the tables of biases from N(0, 1), gains
not 1, biases not 0), and the vectors of drawn pixels in float64 next to it. `time` runs PyTorch and `cargo bench --bench swin` in turn
on the same pixels, and prints the median time of each and their ratio. PyTorch gets an allocator that does not return pages, and
denormals flushed.
"""
import argparse, json, os, pathlib, statistics, subprocess, sys, time

FAIR = dict(MALLOC_MMAP_MAX_="0", MALLOC_TRIM_THRESHOLD_="9000000000", MALLOC_TOP_PAD_="268435456", THP_MEM_ALLOC_ENABLE="1")
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("what", choices=["write", "time"])
parser.add_argument("dir", type=pathlib.Path)
parser.add_argument("--window", type=int, default=7)
parser.add_argument("--sizes", nargs="+", default=["224x224"])
parser.add_argument("--batch", type=int, default=8)
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--threads", type=int, default=2)
args = parser.parse_args()
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[name] = str(args.threads)
if args.what == "time" and any(os.environ.get(k) != v for k, v in FAIR.items()):
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **FAIR})

import numpy as np, torch, transformers

folder = args.dir / "encoders" / "swin"
torch.set_num_threads(args.threads)
torch.set_flush_denormal(True)
rng = np.random.default_rng(20)


def drawn(name, shape):
    x = rng.standard_normal(shape)
    if name.endswith("bias_table"):
        return x
    if "norm" in name and name.endswith("weight"):
        return 1 + 0.3 * x
    return 0.3 * x if name.endswith("bias") else x / np.sqrt(np.prod(shape[1:]))


def write():
    config = transformers.SwinConfig(window_size=args.window)
    model = transformers.SwinModel(config).eval()
    state = {k: v if v.dtype == torch.int64 else torch.tensor(drawn(k, v.shape), dtype=torch.float32) for k, v in model.state_dict().items()}
    model.load_state_dict(state)
    model.save_pretrained(folder)
    arrays = {}
    for size in args.sizes:
        height, width = map(int, size.split("x"))
        pixels = torch.tensor(rng.standard_normal((2, 3, height, width)), dtype=torch.float32).double()
        # A new one for each size: the class keeps a smaller window once it has seen a small image.
        with torch.no_grad():
            mean = transformers.SwinModel.from_pretrained(folder).eval().double()(pixel_values=pixels).pooler_output
        arrays |= {f"in.px_{size}": pixels.numpy(), f"out.mean_{size}": mean.numpy()}
    arrays["meta"] = np.frombuffer(json.dumps(dict(folder="encoders/swin")).encode(), dtype=np.uint8)
    np.savez(args.dir / "encoders" / "swin.npz", **arrays)


def seconds():
    model = transformers.SwinModel.from_pretrained(folder).eval()
    pixels = torch.randn(args.batch, 3, 224, 224)

    def peer():
        start = time.perf_counter()
        with torch.inference_mode():
            model(pixel_values=pixels)
        return time.perf_counter() - start

    command = ["cargo", "bench", "--quiet", "--bench", "swin", "--", str(folder), str(args.batch)]
    bench = subprocess.Popen(command, cwd=pathlib.Path(__file__).resolve().parents[2], text=True, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, env={k: v for k, v in os.environ.items() if k not in FAIR})

    def ours():
        print(file=bench.stdin, flush=True)
        return float(bench.stdout.readline())

    for run in (peer, ours, peer, ours):
        run()
    times = [(ours(), peer()) for _ in range(args.rounds)]
    bench.stdin.close()
    wgrec, pytorch = (statistics.median(side) for side in zip(*times))
    print(f"batch {args.batch}, {args.threads} threads: wgrec {wgrec:.3f} s, PyTorch {pytorch:.3f} s, ratio {pytorch / wgrec:.2f}")


write() if args.what == "write" else seconds()
