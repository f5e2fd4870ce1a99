"""v7 on one page: dropout, and a larger model, which could otherwise memorise the text.

python plain/v7.py [ITERATIONS] trains the same weights as python train.py model=v7, to the last bit.
"""

import hashlib
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy

SEED = 1337
B = 64  # windows in a batch
T = 256  # tokens in a window
C = 384  # channels of a token
H = 6  # heads
L = 6  # blocks
P = 0.2  # probability of dropping a value
LEARNING_RATE = 3e-4
ITERATIONS = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
EVAL_INTERVAL = 500  # iterations between estimates
EVAL_ITERS = 200  # batches in an estimate
TEXT = Path(__file__).parent.parent / "data" / "tinyshakespeare.txt"

# The text: its characters are the tokens, numbered in order; its last tenth is never trained on.
text = TEXT.read_text()
vocabulary = sorted(set(text))
V = len(vocabulary)
ids = torch.tensor([vocabulary.index(character) for character in text])  # (N,)
cut = int(0.9 * len(ids))
splits = {"train": ids[:cut], "val": ids[cut:]}


def dropout(x):
    if not torch.is_grad_enabled():  # in estimates and samples
        return x
    dropped = round(P * 2**16)  # of the values that 16 random bits can have
    bits = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
    kept = bits[: x.numel()].view(x.shape) >= dropped - 2**15
    return x * kept * (1 / (1 - dropped / 2**16))  # scaled up, so that the mean stays


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(C, 3 * C, bias=False)
        self.projection = nn.Linear(C, C)

    def forward(self, x):  # (B, T, C)
        q, k, v = self.qkv(x).unflatten(-1, (3, H, -1)).permute(2, 0, 3, 1, 4)  # (B, H, T, D) each, D = C / H
        scores = q * (C // H) ** -0.5 @ k.transpose(-2, -1)  # (B, H, T, T): how well each query fits each key
        later = torch.full(scores.shape[-2:], float("-inf")).triu(diagonal=1)  # (T, T): the key comes after the query
        y = dropout((scores + later).softmax(-1)) @ v  # (B, H, T, D)
        return self.projection(y.transpose(1, 2).flatten(-2))  # (B, T, H, D) -> (B, T, C)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention_norm = nn.LayerNorm(C)
        self.attention = Attention()
        self.feed_forward_norm = nn.LayerNorm(C)
        self.feed_forward = nn.Sequential(nn.Linear(C, 4 * C), nn.ReLU(), nn.Linear(4 * C, C))

    def forward(self, x):  # (B, T, C)
        x = x + dropout(self.attention(self.attention_norm(x)))  # (B, T, C)
        return x + dropout(self.feed_forward(self.feed_forward_norm(x)))  # (B, T, C)


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.token = nn.Embedding(V, C)
        self.position = nn.Embedding(T, C)
        self.blocks = nn.Sequential(*(Block() for _ in range(L)))
        self.norm = nn.LayerNorm(C)
        self.lm_head = nn.Linear(C, V)

    def forward(self, idx):  # (B, T)
        x = self.token(idx) + self.position.weight[: idx.shape[1]]  # (B, T, C) + (T, C)
        x = self.blocks(x)  # (B, T, C)
        x = self.norm(x)  # (B, T, C)
        return self.lm_head(x)  # (B, T, V)


def generator(*purpose):
    """Random numbers that depend on the seed and on what they are for, not on what was drawn before."""
    name = "/".join(map(str, (SEED, *purpose))).encode()
    return torch.Generator().manual_seed(int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big"))


def batch_loss(split, random):
    starts = torch.randint(len(splits[split]) - T, (B, 1), generator=random)  # (B, 1)
    windows = splits[split][starts + torch.arange(T + 1)]  # (B, T + 1)
    logits = model(windows[:, :-1])  # (B, T, V): of the token after each
    return cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())  # (B T, V) and (B T,)


@torch.no_grad()
def estimate(split):
    random = generator("evaluation", split, iteration)
    return sum(batch_loss(split, random).item() for _ in range(EVAL_ITERS)) / EVAL_ITERS


torch.manual_seed(SEED)
model = GPT()
decayed = [p for p in model.parameters() if p.dim() >= 2]  # matrices, not biases
others = [p for p in model.parameters() if p.dim() < 2]
groups = [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, fused=True)

for iteration in range(ITERATIONS + 1):
    if iteration % EVAL_INTERVAL == 0 or iteration == ITERATIONS:
        print(f"iteration {iteration:5}   train {estimate('train'):.4f}   val {estimate('val'):.4f}", flush=True)
    if iteration < ITERATIONS:
        loss = batch_loss("train", generator("train", iteration))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

# A text of 500 characters that starts after a newline, each drawn from what the model predicts: the first, in the order
# of likelihood, at which the sum of the probabilities exceeds a random number.
idx, start = torch.zeros((1, 1), dtype=torch.long), 0
for number in torch.rand(500, generator=generator("sample", 0)):
    if idx.shape[1] - start > T:  # the window is full: go on with its newer half
        start = idx.shape[1] - T // 2
    with torch.no_grad():
        p, order = model(idx[:, start:])[:, -1].softmax(-1).sort(descending=True)  # (1, V) both
    choice = (p.cumsum(-1) <= number).sum(-1, keepdim=True)  # (1, 1)
    idx = torch.cat([idx, order.gather(-1, choice)], dim=1)  # (1, 1 + t)
print("".join(vocabulary[i] for i in idx[0, 1:]))
