"""v8 on one page: rotary positions, token shift and squared ReLU; Muon for the matrices; smaller, without dropout.

python plain/v8.py [ITERATIONS] trains the weights of python train.py model=v8 device=cpu, bit for bit.
"""

import hashlib
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy, pad, scaled_dot_product_attention

SEED = 1337
B = 8  # windows in a batch
T = 256  # tokens in a window
C = 128  # channels of a token
H = 4  # heads
L = 4  # blocks
LEARNING_RATE = 1e-2  # of Adam, which trains the rest
MATRIX_LEARNING_RATE = 0.02  # of Muon
PRECISION = torch.bfloat16  # of its products; set torch.float32, as train.py does, if the CPU has no bfloat16
ITERATIONS = int(sys.argv[1]) if len(sys.argv) > 1 else 1800
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


def rotated(x):  # (B, H, T, D)
    """Rotate pairs of channels by an angle in proportion to the position, each pair more slowly than the one before."""
    T, D = x.shape[-2:]  # this window's T, which is shorter while a text begins
    angles = torch.arange(T)[:, None] * 10_000 ** -torch.linspace(0, 1, D // 2)  # (T, D / 2), in radians
    cos, sin = angles.cos(), angles.sin()  # (T, D / 2) each
    a, b = x.chunk(2, dim=-1)  # (B, H, T, D / 2) each
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)  # (B, H, T, D)


class Shift(nn.Module):
    def __init__(self):
        super().__init__()
        self.share = nn.Parameter(torch.zeros(C))

    def forward(self, x):  # (B, T, C)
        previous = pad(x, (0, 0, 1, 0))[:, :-1]  # (B, T, C): the token before each; zeros before the first
        return torch.lerp(x, previous, self.share)  # (B, T, C)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(C, 3 * C, bias=False)
        self.projection = nn.Linear(C, C)

    def forward(self, x):  # (B, T, C)
        qkv = self.qkv(x).unflatten(-1, (3, H, C // H))  # (B, T, 3, H, D), where D = C / H
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, H, T, D) each
        y = scaled_dot_product_attention(rotated(q), rotated(k), v, is_causal=True)  # (B, H, T, D)
        return self.projection(y.transpose(1, 2).flatten(-2))  # (B, T, H, D) -> (B, T, C)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(C), Shift(), Attention())
        self.widen = nn.Sequential(nn.LayerNorm(C), Shift(), nn.Linear(C, 4 * C))
        self.narrow = nn.Linear(4 * C, C)

    def forward(self, x):  # (B, T, C)
        x = x + self.attention(x)  # (B, T, C)
        return x + self.narrow(self.widen(x).relu().square())  # (B, T, 4 C) -> (B, T, C)


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.token = nn.Embedding(V, C)
        self.blocks = nn.Sequential(*(Block() for _ in range(L)))
        self.norm = nn.LayerNorm(C)
        self.lm_head = nn.Linear(C, V)

    def forward(self, idx):  # (B, T)
        x = self.token(idx)  # (B, T, C)
        x = self.blocks(x)  # (B, T, C)
        return self.lm_head(self.norm(x))  # (B, T, V)


def orthogonalised(x):  # (M, N)
    """Roughly the nearest orthogonal matrix: five steps of a polynomial that brings the singular values close to 1."""
    if x.shape[0] > x.shape[1]:  # tall: work on its transpose, whose x @ x.T is smaller
        return orthogonalised(x.T.contiguous()).T
    x = x.to(PRECISION)
    x = x / x.norm()
    for _ in range(5):
        gram = x @ x.T  # (M, M)
        factor = torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315)  # -4.775 gram + 2.0315 gram^2
        x = torch.addmm(x, factor, x, beta=3.4445)  # 3.4445 x + factor x
    return x


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
matrices = [p for p in model.blocks.parameters() if p.dim() == 2]
momenta = [torch.zeros_like(matrix) for matrix in matrices]
others = [model.token.weight, model.lm_head.weight, *(p for p in model.parameters() if p.dim() == 1)]
adam = torch.optim.AdamW(others, betas=(0.9, 0.95), weight_decay=0, fused=True)

for iteration in range(ITERATIONS + 1):
    if iteration % EVAL_INTERVAL == 0 or iteration == ITERATIONS:
        train, val = estimate("train", iteration), estimate("val", iteration)
        print(f"iteration {iteration:5}   train {train:.4f}   val {val:.4f}", flush=True)
    if iteration < ITERATIONS:
        loss = batch_loss("train", generator(f"train/{iteration}"))
        model.zero_grad()
        loss.backward()
        share = 1 - iteration / ITERATIONS  # both rates fall to 0
        adam.param_groups[0]["lr"] = share * LEARNING_RATE
        adam.step()
        rate = share * MATRIX_LEARNING_RATE
        with torch.no_grad():
            for matrix, momentum in zip(matrices, momenta):
                momentum.lerp_(matrix.grad, 1 - 0.95)  # a running mean of the gradients
                update = orthogonalised(matrix.grad.lerp(momentum, 0.95))  # of 5% gradient, 95% momentum (Nesterov)
                matrix.mul_(1 - rate * 0.1)  # weight decay
                matrix.add_(update, alpha=-rate * max(1, matrix.shape[0] / matrix.shape[1]) ** 0.5)  # tall: further

# A text of T characters. For each, add up the probabilities, the largest first, until they exceed a random number.
window = [vocabulary.index("\n")]
for number in torch.rand(T, generator=generator("sample/0")):
    with torch.no_grad():
        p, order = model(torch.tensor([window]))[0, -1].softmax(-1).sort(descending=True)  # (V,) each
    window.append(order[(p.cumsum(-1) <= number).sum()].item())
    print(vocabulary[window[-1]], end="", flush=True)
print()
