"""v3 on one page: several attention heads. Each learns its own pattern; their outputs are concatenated.

python plain/v3.py [ITERATIONS] trains the weights of python train.py model=v3 device=cpu, bit for bit.
"""

import hashlib
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

SEED = 1337
B = 32  # windows in a batch
T = 8  # tokens in a window
C = 32  # channels of a token
H = 4  # heads
LEARNING_RATE = 1e-3
ITERATIONS = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
EVAL_INTERVAL = 500  # iterations between estimates
EVAL_ITERS = 200  # batches in an estimate
TEXT = Path(__file__).parent.parent / "data" / "tinyshakespeare.txt"

# The text. Its characters, numbered in order, are the tokens; its last tenth is for validation.
text = TEXT.read_bytes().decode()
vocabulary = sorted(set(text))
V = len(vocabulary)
ids = torch.tensor([vocabulary.index(character) for character in text])  # (N,)
cut = int(0.9 * len(ids))
splits = {"train": ids[:cut], "val": ids[cut:]}


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(C, 3 * C, bias=False)

    def forward(self, x):  # (B, T, C)
        qkv = self.qkv(x).unflatten(-1, (3, H, C // H))  # (B, T, 3, H, D), where D = C / H
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, H, T, D) each
        y = scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, H, T, D): v2's four lines
        return y.transpose(1, 2).flatten(-2)  # (B, T, H, D) -> (B, T, C)


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.token = nn.Embedding(V, C)
        self.position = nn.Embedding(T, C)
        self.attention = Attention()
        self.lm_head = nn.Linear(C, V)

    def forward(self, idx):  # (B, T)
        x = self.token(idx) + self.position.weight[: idx.shape[1]]  # (B, T, C) + (T, C)
        x = self.attention(x)  # (B, T, C)
        return self.lm_head(x)  # (B, T, V)


def generator(purpose):
    """Random numbers that depend on the seed and on what they are for, not on what was drawn before."""
    digest = hashlib.blake2b(f"{SEED}/{purpose}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big"))


def batch_loss(split, random):
    starts = torch.randint(len(splits[split]) - T, (B, 1), generator=random)  # (B, 1): where the windows begin
    windows = splits[split][starts + torch.arange(T + 1)]  # (B, T + 1)
    logits = model(windows[:, :-1])  # (B, T, V): at each position, of the token after it
    return cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())  # (B T, V) and (B T,)


@torch.no_grad()
def estimate(split, iteration):
    random = generator(f"evaluation/{split}/{iteration}")
    return sum(batch_loss(split, random).item() for _ in range(EVAL_ITERS)) / EVAL_ITERS


torch.manual_seed(SEED)
model = GPT()
matrices = [p for p in model.parameters() if p.dim() == 2]
vectors = [p for p in model.parameters() if p.dim() == 1]
groups = [{"params": matrices}, {"params": vectors, "weight_decay": 0}]  # weight decay for the matrices only
optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, weight_decay=0.01, fused=True)

for iteration in range(ITERATIONS + 1):
    if iteration % EVAL_INTERVAL == 0 or iteration == ITERATIONS:
        train, val = estimate("train", iteration), estimate("val", iteration)
        print(f"iteration {iteration:5}   train {train:.4f}   val {val:.4f}", flush=True)
    if iteration < ITERATIONS:
        loss = batch_loss("train", generator(f"train/{iteration}"))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

# A text of 500 characters. For each, add up the probabilities, the largest first, until they exceed a random number.
window = [vocabulary.index("\n")]
for number in torch.rand(500, generator=generator("sample/0")):
    with torch.no_grad():
        p, order = model(torch.tensor([window]))[0, -1].softmax(-1).sort(descending=True)  # (V,) each
    token = order[(p.cumsum(-1) <= number).sum()].item()
    print(vocabulary[token], end="", flush=True)
    window = [*window, token][-T:]
print()
