"""wgrec's kernels beside PyTorch's, at the sizes of `wgrec bench kernels`, on the same device in one run.

    pip install 'torch<2.6' 'numpy<2' && cargo build --release
    python benches/peers/kernels.py [--kernel softmax] [--device cpu|gpu] [--size full|quick|large] [--compile] [--threads 2]

Prints milliseconds and how many times wgrec's PyTorch takes, eager and, with --compile, by torch.compile. Both sides: f32, warm-up,
caches flushed before each run, medians; on a GPU, times of the device. `matmul f16` alone multiplies halves, on GPUs: PyTorch writes
halves, wgrec f32. PyTorch gets denormals flushed, an allocator that does not
return pages (it restarts itself with these settings), its fused Adam, its SparseAdam
and an output of index_select; what else it allocates counts. Where the two differ: PyTorch's gradient of
a gather is the dense table, and on a GPU it sorts the rows as part of it; wgrec's is the table's rows, which the batch maker has sorted.
Its loss makes the logits: where they do not fit there is no figure. GRU, moments and Adam over rows have no single
counterpart; steps.py has what contains them.
"""
import argparse, json, os, pathlib, re, subprocess, sys, tempfile, time

FAIR = dict(MALLOC_MMAP_MAX_="0", MALLOC_TRIM_THRESHOLD_="9000000000", MALLOC_TOP_PAD_="268435456", THP_MEM_ALLOC_ENABLE="1")
args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
args.add_argument("--kernel", help="one kernel of `wgrec bench kernels`; all without it")
args.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
args.add_argument("--size", choices=["full", "quick", "large"], default="full")
args.add_argument("--compile", action="store_true")
args.add_argument("--runs", type=int, default=10)
args.add_argument("--threads", type=int, default=2)
args.add_argument("--wgrec", default=str(pathlib.Path(__file__).resolve().parents[2] / "target/release/wgrec"))
args = args.parse_args()
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[name] = str(args.threads)
if any(os.environ.get(k) != v for k, v in FAIR.items()):
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **FAIR})

with tempfile.NamedTemporaryFile(suffix=".json") as file:
    command = [args.wgrec, "bench", "kernels", *([args.kernel] if args.kernel else []), "--device", args.device, "--json", file.name]
    command += [f"--{args.size}"] if args.size != "full" else []
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={k: v for k, v in os.environ.items() if k not in FAIR})
    report = json.load(open(file.name))

import torch
import torch.nn.functional as F

device = "cuda" if args.device == "gpu" else "cpu"
torch.set_num_threads(args.threads)
torch.set_flush_denormal(True)
torch.manual_seed(1)
torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
normal = lambda *shape: torch.randn(*shape, device=device)
below = lambda limit, *shape: torch.randint(limit, shape, device=device)


def gather(n, d, ordered):
    table, rows = normal(n + 1, d), torch.arange(n, device=device) if ordered else below(n + 1, n)
    # Into existing memory: on a CPU, new memory for F.embedding took it up to thirty times as long.
    return (lambda table, rows, y: torch.index_select(table, 0, rows, out=y)), (table, rows, torch.empty(n, d, device=device))


def scatter(n, d, table, ordered):
    rows = 1 + torch.arange(n, device=device) * (table - 1) // n if ordered else below(table, n)
    return (lambda dy, rows: torch.ops.aten.embedding_dense_backward(dy, rows, table, -1, False)), (normal(n, d), rows)


def product(m, k, n, kind):
    if kind == "f16":
        return torch.mm, (normal(m, k).half(), normal(k, n).half())
    x, w, bias, dy = normal(m, k), normal(n, k) / k**0.5, normal(n), normal(m, n)
    return {"": (F.linear, (x, w)), "bias": (F.linear, (x, w, bias)), "bias relu": (lambda *a: F.relu(F.linear(*a)), (x, w, bias)),
            "backward x": (torch.mm, (dy, w)), "backward w": (lambda dy, x: dy.T @ x, (dy, x))}[kind]


def gradient(f, wanted, *inputs):
    """The backward pass of f alone, by those of its inputs that are wanted."""
    inputs = [x.requires_grad_() if i in wanted else x for i, x in enumerate(inputs)]
    y = f(*inputs)
    dy = torch.randn_like(y)
    return (lambda: torch.autograd.grad(y, [inputs[i] for i in wanted], dy, retain_graph=True)), ()


def whole(f, wanted, *inputs):
    """The backward pass, and the forward pass, which keeps nothing for it."""
    return gradient(f, wanted, *inputs), (f, [x.detach() for x in inputs])


def attention(b, l, d, heads):
    split = lambda: normal(b, l, heads, d // heads).transpose(1, 2)
    return whole(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), [0, 1, 2], split(), split(), split())


def filtered(b, t, d):
    f = lambda x, w: torch.fft.irfft(torch.fft.rfft(x, dim=1, norm="ortho") * torch.view_as_complex(w), n=t, dim=1, norm="ortho")
    return whole(f, [1], normal(b, t, d), normal(t // 2 + 1, d, 2))


def loss(n, d, items):
    x, table, target = normal(n, d).requires_grad_(), normal(items + 1, d).requires_grad_(), below(items, n)

    def step(x, table, target):
        loss = F.cross_entropy(x @ table[1:].T, target)
        return loss, *torch.autograd.grad(loss, [x, table])
    return step, (x, table, target)


def adam(n):
    x = normal(n)
    x.grad = torch.randn_like(x)
    return torch.optim.Adam([x], fused=True).step, ()


def lazy_adam(used, table, d):
    x = normal(table, d)
    rows = 1 + torch.arange(used, device=device) * (table - 1) // used
    x.grad = torch.sparse_coo_tensor(rows[None], normal(used, d), (table, d)).coalesce()
    return torch.optim.SparseAdam([x]).step, ()


def ranking(users, d, items):
    seen = torch.arange(users, device=device)[:, None] % 7 + 11 * torch.arange(20, device=device)

    def rank(x, table, target, seen):
        scores = x @ table.T
        wanted = scores.gather(1, target[:, None])
        return (scores.scatter(1, seen, -torch.inf) > wanted).sum(1)
    return rank, (normal(users, d), normal(items, d), below(items, users), seen)


def case(name, sizes):
    """The same in PyTorch: a function and its arguments; None where it has none."""
    n = [int(number) for number in re.findall(r"\d+", sizes)]
    backward = name.endswith(" backward")
    pick = lambda both: both[0] if backward else both[1]
    layer_norm = lambda x, w, b: F.layer_norm(x, x.shape[-1:], w, b, 1e-5)
    convolve = lambda x, w, b: F.conv1d(x, w, b)
    chain = lambda x, y: torch.tanh(x * y + x) * torch.sigmoid(y)
    match name.removesuffix(" backward").split(" ", 1):
        case ["gather", order]: return gather(*n, order == "contiguous")
        case ["scatter", order]: return scatter(*n, order == "contiguous")
        case ["matmul", *kind]: return product(*n, " ".join(kind))
        case ["softmax"]: return pick(whole(lambda x: torch.softmax(x, -1), [0], 4 * normal(*n)))
        case ["attention"]: return pick(attention(*n))
        case ["layer", "norm"]: return pick(whole(layer_norm, [0, 1, 2], normal(*n), normal(n[1]), normal(n[1])))
        case ["conv"]: return pick(whole(convolve, [0, 1, 2], normal(n[0], n[2], n[1]), normal(n[3], n[2], n[4]), normal(n[3])))
        case ["filter"]: return pick(filtered(*n))
        case ["elementwise"]: return pick(whole(chain, [0, 1], normal(*n), normal(*n)))
        case ["softmax", "loss"]: return loss(*n)
        case ["adam"]: return adam(*n)
        case ["lazy", "adam"]: return lazy_adam(*n)
        case ["full", "ranking"]: return ranking(*n)
    return None


flush = torch.zeros(1 << 26, device=device)


def milliseconds(f, inputs):
    times = []
    for run in range(args.runs + 3):
        flush.add_(1.0)
        if device == "cuda":
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            f(*inputs)
            end.record()
            torch.cuda.synchronize()
            taken = begin.elapsed_time(end)
        else:
            begin = time.perf_counter()
            f(*inputs)
            taken = 1e3 * (time.perf_counter() - begin)
        if run >= 3:
            times.append(taken)
    return sorted(times)[len(times) // 2]


print(f"ms; PyTorch {torch.__version__} on {device}, wgrec {report['commit']} on {report['adapter']}, {args.threads} threads; "
      f"load before {os.getloadavg()[0]:.1f}")
print(f"{'case':22}{'sizes':30}{'wgrec':>10}{'PyTorch':>10}{'ratio':>8}" + (f"{'compiled':>10}{'ratio':>8}" if args.compile else ""))
for row in report["rows"]:
    made = case(row["name"], row["sizes"])
    ours = 1e3 * row["seconds"]["median"]
    line = f"{row['name']:22}{row['sizes']:30}{ours:10.3f}"
    if made:
        if args.compile:
            torch._dynamo.reset()  # else it gives up compiling after eight shapes of one function
        sides = [made[0]] + ([torch.compile(made[0])] if args.compile and made[1] else [])
        for side in sides:
            try:
                theirs = milliseconds(side, made[1])
                line += f"{theirs:10.3f}{theirs / ours:7.2f}x"
            except torch.OutOfMemoryError:
                line += f"{'no memory':>18}"
    print(line, flush=True)
    del made
