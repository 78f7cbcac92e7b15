"""Encoding texts by a BERT in Hugging Face's form: `wgrec encode text` beside PyTorch (transformers), on the same texts, batches
and cores, in turns in one run.

    pip install 'torch<2.6' 'transformers<5'
    cargo build --release && python benches/peers/encode.py --model DIR --data FOLDER --texts FOLDER/Scientific.text [--rounds 3] [--threads 2]

TEXTS is a table of tab-separated columns, the ids of items and their texts, under a header; DATA has the interactions next to it. Both sides pad a text to a multiple of
8 tokens, sort the texts by that length, and take 4,096 tokens a batch. Prints tokens a second without padding, of encoding
alone: neither side's loading and cutting into tokens is in it. Vectors must agree to 1e-4.
"""

import argparse
import html
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", required=True)
parser.add_argument("--data", required=True)
parser.add_argument("--texts", required=True)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--max-length", type=int, default=256)
parser.add_argument("--wgrec", default=str(pathlib.Path(__file__).resolve().parents[2] / "target/release/wgrec"))
parser.add_argument("--peer", help=argparse.SUPPRESS)  # PyTorch's process: where its vectors go
args = parser.parse_args()

STEP, TOKENS = 8, 4096


def batches(ids):
    """Numbers of texts by batch, longest first, and the padded length of each batch."""
    length = [min(-(-len(i) // STEP) * STEP, args.max_length) for i in ids]
    order = sorted(range(len(ids)), key=lambda i: -length[i])
    while order:
        same = [i for i in order if length[i] == length[order[0]]]
        order = order[len(same) :]
        size = max(1, TOKENS // length[same[0]])
        for start in range(0, len(same), size):
            yield same[start : start + size], length[same[0]]


def rows():
    """The items' ids and texts, white space as wgrec reads it."""
    with open(args.texts, encoding="utf-8") as file:
        lines = [line.rstrip("\n").split("\t") for line in file][1:]
    return {line[0]: " ".join(html.unescape(line[1]).split()) for line in lines}


def peer():
    # transformers looks for a package called kernels, and would run kernels.py of this folder.
    sys.path = [path for path in sys.path if pathlib.Path(path).resolve() != pathlib.Path(__file__).resolve().parent]
    import numpy as np
    import torch
    import transformers

    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    texts = list(rows().values())
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.model)
    ids = tokenizer(texts, truncation=True, max_length=args.max_length)["input_ids"]
    # Equal texts once, as wgrec has it.
    distinct = [list(i) for i in dict.fromkeys(map(tuple, ids))]
    model = transformers.BertModel.from_pretrained(args.model, add_pooling_layer=False).eval()
    vectors = {}

    def encode(batch, length):
        tokens = torch.zeros(len(batch), length, dtype=torch.long)
        mask = torch.zeros_like(tokens)
        for row, text in enumerate(batch):
            tokens[row, : len(distinct[text])] = torch.tensor(distinct[text])
            mask[row, : len(distinct[text])] = 1
        hidden = model(input_ids=tokens, attention_mask=mask).last_hidden_state
        mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return torch.nn.functional.normalize(mean, dim=-1).numpy()

    with torch.inference_mode():
        all_batches = list(batches(distinct))
        encode(*all_batches[0])
        start = time.perf_counter()
        for batch, length in all_batches:
            for text, vector in zip(batch, encode(batch, length)):
                vectors[tuple(distinct[text])] = vector
        seconds = time.perf_counter() - start
    np.save(args.peer, np.stack([vectors[tuple(i)] for i in ids]))
    print(sum(map(len, distinct)) / seconds)


def wgrec(folder):
    output = folder / "ours.safetensors"
    settings = ["--pooling=mean", "--normalize", "--dtype=f32", "--device=cpu", f"--max-length={args.max_length}"]
    command = [args.wgrec, "encode", "text", "--model", args.model, "--data", args.data, "--output", str(output), *settings]
    environment = {"RAYON_NUM_THREADS": str(args.threads)}
    printed = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    return float(re.search(r"([\d,]+) tokens/s", printed)[1].replace(",", ""))


def main():
    import numpy as np

    speeds = {"wgrec": [], "PyTorch": []}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        theirs = [sys.executable, *sys.argv, "--peer", str(folder / "theirs.npy")]
        for _ in range(args.rounds):
            speeds["wgrec"].append(wgrec(folder))
            speeds["PyTorch"].append(float(subprocess.run(theirs, check=True, capture_output=True, text=True).stdout))
        for name, rounds in speeds.items():
            print(f"{name:8} {np.median(rounds):8,.0f} tokens/s  (" + ", ".join(f"{speed:,.0f}" for speed in rounds) + ")")
        data = (folder / "ours.safetensors").read_bytes()
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        about, place = header["text"], {id: row for row, id in enumerate(rows())}
        # The interactions may have numbers in place of ids.
        index = pathlib.Path(args.texts).with_suffix(".item2index")
        lines = index.read_text(encoding="utf-8").splitlines() if index.exists() else []
        place |= {number: place[id] for id, number in map(str.split, lines) if id in place}
        order = [place[id] for id in json.loads(header["__metadata__"]["ids"])]
        ours = np.frombuffer(data[8 + size :][slice(*about["data_offsets"])], "<f4").reshape(about["shape"])
        apart = np.abs(ours - np.load(folder / "theirs.npy")[order]).max()
    print(f"ratio    {np.median(speeds['wgrec']) / np.median(speeds['PyTorch']):.2f}; vectors differ by at most {apart:.1e}")
    assert apart < 1e-4


if args.peer:
    peer()
else:
    main()
