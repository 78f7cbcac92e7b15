"""Why `loss.prior`: a SASRec in PyTorch with gBCE (gSASRec, RecSys 2023), with the constant in front of its scores and without.

    pip install 'torch<2.6' 'numpy<2'
    python benches/peers/gbce.py --data PATH/ml-100k [--prior] [--epochs 90] [--std 0.02] [--scale 8] [--dropout 0.2]

PATH/ml-100k is a folder with ml-100k.inter, ordered by time per user, leave-one-out. B 128, L 50, d 64, two pre-norm blocks, 256
negatives that a batch shares, t 0.75, Adam 1e-3. Prints validation NDCG@10, history masked, and, over the users, the standard
deviation and the size of the mean of a row's elements: once the encoder has collapsed the first is next to 0.
"""
import argparse, math, pathlib
import numpy as np
import torch
from torch import nn
from torch.nn.functional import softplus

args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
args.add_argument("--data", required=True)
args.add_argument("--prior", action="store_true", help="log(beta / n) in front of all scores")
args.add_argument("--epochs", type=int, default=90)
args.add_argument("--std", type=float, default=0.02, help="of the embeddings at the start")
args.add_argument("--scale", type=float, default=8.0, help="of the item embeddings that are read")
args.add_argument("--dropout", type=float, default=0.2)
args.add_argument("--threads", type=int, default=1)
args = args.parse_args()
torch.manual_seed(0)
torch.set_num_threads(args.threads)
torch.set_flush_denormal(True)
B, L, D, NEGATIVES, T = 128, 50, 64, 256, 0.75

rows = np.loadtxt(next(pathlib.Path(args.data).glob("*.inter")), dtype=np.int64, skiprows=1)
users = {}
for k in np.argsort(rows[:, 3], kind="stable"):
    users.setdefault(rows[k, 0], []).append(rows[k, 1])
items = int(rows[:, 1].max())
train, valid = [s[:-2] for s in users.values()], torch.tensor([s[-2] for s in users.values()])
windows = torch.tensor([[0] * (L + 1 - len(s[-L - 1:])) + s[-L - 1:] for s in train])
causal = torch.ones(L, L).tril().bool()


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.up, self.down = (nn.Linear(D, D) for _ in range(5))
        self.norms, self.drop = nn.ModuleList(nn.LayerNorm(D, eps=1e-8) for _ in range(2)), nn.Dropout(args.dropout)

    def forward(self, x, real):
        q = self.norms[0](x)
        scores = self.q(q) @ self.k(x).transpose(1, 2) / math.sqrt(D)
        x = q + self.drop(scores.masked_fill(~(causal & (real[:, None] > 0)), -1e9).softmax(-1)) @ self.v(x)
        x = self.norms[1](x)
        return (x + self.drop(self.down(self.drop(torch.relu(self.up(x)))))) * real[..., None]


class SasRec(nn.Module):
    def __init__(self):
        super().__init__()
        self.item, self.position = nn.Embedding(items + 1, D), nn.Embedding(L, D)
        for table in (self.item, self.position):
            nn.init.normal_(table.weight, std=args.std)
        self.blocks, self.norm, self.drop = nn.ModuleList(Block() for _ in range(2)), nn.LayerNorm(D, eps=1e-8), nn.Dropout(args.dropout)

    def forward(self, history):
        real = (history > 0).float()
        x = self.drop(self.item(history) * args.scale + self.position.weight) * real[..., None]
        for block in self.blocks:
            x = block(x, real)
        return self.norm(x)


alpha = NEGATIVES / (items - 1)
beta = alpha * (T * (1 - 1 / alpha) + 1 / alpha)
prior = math.log(beta / NEGATIVES) if args.prior else 0.0
model = SasRec()
optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
for epoch in range(1, args.epochs + 1):
    model.train()
    for batch in windows[torch.randperm(len(windows))].split(B):
        history, target = batch[:, :-1], batch[:, 1:]
        weight = ((history > 0) & (target > 0)).float()
        rows = model(history)
        positive = (rows * model.item(target)).sum(-1) + prior
        negative = rows @ model.item(torch.randint(1, items + 1, (NEGATIVES,))).T + prior
        loss = (beta * softplus(-positive) + softplus(negative).sum(-1)) / (NEGATIVES + 1)
        optimiser.zero_grad()
        ((loss * weight).sum() / weight.sum()).backward()
        optimiser.step()
    if epoch % 10 == 0:
        model.eval()
        with torch.no_grad():
            row = model(windows[:, 1:])[:, -1]
            scores = row @ model.item.weight.T
            scores[:, 0] = -1e9
            for user, seen in enumerate(train):
                scores[user, seen] = -1e9
            above = (scores > scores[torch.arange(len(valid)), valid][:, None]).sum(1).float()
            ndcg = ((above < 10) / torch.log2(above + 2)).mean()
            print(f"epoch {epoch:3}  valid ndcg@10 {ndcg:.4f}  deviation {row.std(0).mean():.4f}  mean {row.mean(0).abs().mean():.4f}", flush=True)
