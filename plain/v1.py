"""v1 on one page: a bigram table. The next token depends on the current token and on nothing else.

python plain/v1.py [ITERATIONS] trains the weights of python train.py model=v1 device=cpu, bit for bit.
"""

import hashlib
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy

SEED = 1337
B = 32  # windows in a batch
T = 8  # tokens in a window
LEARNING_RATE = 1e-3
ITERATIONS = int(sys.argv[1]) if len(sys.argv) > 1 else 16000
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


class Bigram(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(V, V)  # row i: the logits of the token that follows token i

    def forward(self, idx):  # (B, T)
        return self.table(idx)  # (B, T, V)


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
model = Bigram()
optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01, fused=True)

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
