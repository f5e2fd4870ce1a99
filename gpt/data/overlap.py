"""What two texts share: a model is not to be scored on text that it was trained on, and may recite it."""

import torch
from torch import Tensor

from gpt.data.tokenizer import Ids

_BLOCK = 64  # tokens, a power of two; texts hardly share as many by chance
_FACTOR = 0x1E3779B97F4A7C15  # odd; hashes are modulo 2**64
_AT_ONCE = 2**20  # tokens, a multiple of the block
_MOST_FOLLOWED = 2**22  # copies of blocks


def shared_tokens(ids: Ids, others: Ids) -> int:
    """How many of N token ids are in passages that M others have as well.

    The others are cut into blocks of 64 tokens; a passage is found if it holds one of them, as any of 127 tokens does
    ("The rsync algorithm", Tridgell and Mackerras, 1996, section 2), and followed to both of its ends.
    """
    starts, first, count, blocks = _blocks_in(ids, others)
    edges = torch.zeros(len(ids) + 1, dtype=torch.int32)  # +1 where a block begins, -1 after its end
    edges.index_add_(0, starts, torch.ones_like(starts, dtype=torch.int32))
    edges.index_add_(0, starts + _BLOCK, -torch.ones_like(starts, dtype=torch.int32))
    shared = edges.cumsum(0)[:-1] > 0
    chosen = torch.ones_like(starts, dtype=torch.bool)
    if len(starts) > _MOST_FOLLOWED:  # then only those at the ends of what is known to be shared
        before, after = (starts - 1).clamp(min=0), (starts + _BLOCK).clamp(max=len(ids) - 1)
        chosen = ~(shared[before] & shared[after])
    first, count = first[chosen], count[chosen].clamp(max=max(1, _MOST_FOLLOWED // max(1, int(chosen.sum()))))
    number = torch.arange(int(count.sum())) - (count.cumsum(0) - count).repeat_interleave(count)  # 0, 1, ... of each
    starts, places = starts[chosen].repeat_interleave(count), blocks[first.repeat_interleave(count) + number]
    both = starts * len(others) + places
    next_block = _BLOCK * len(others) + _BLOCK  # of the same passage
    for edge, step in ((0, -1), (_BLOCK - 1, 1)):
        is_end = ~torch.isin(both + step * next_block, both)
        here, there = starts[is_end] + edge, places[is_end] + edge
        for _ in range(1, _BLOCK):  # further on would be another block
            here, there = here + step, there + step
            is_inside = (here >= 0) & (here < len(ids)) & (there >= 0) & (there < len(others))
            here, there = here[is_inside], there[is_inside]
            is_same = ids[here] == others[there]
            here, there = here[is_same], there[is_same]
            shared[here] = True
    return int(shared.sum())


RECITED = 20  # characters; two texts of the same kind share shorter passages by chance


def recited(sample: str, text: str) -> tuple[int, str]:
    """How many characters of a sample are in passages of 20 or more that a text has as well; and the longest passage.

    For samples of some thousand characters: the whole text is searched about twice for each of them.
    """
    are_recited, longest, end = bytearray(len(sample)), "", 0
    for start in range(len(sample)):
        end = max(end, start)
        while end < len(sample) and sample[start : end + 1] in text:
            end += 1
        longest = max(longest, sample[start:end], key=len)
        if end - start >= RECITED:
            are_recited[start:end] = b"\1" * (end - start)
    return sum(are_recited), longest


def _blocks_in(ids: Ids, others: Ids) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Where in `ids` a block of `others` begins, in ascending order, its first place in the last tensor and how many
    it has there: (K,) each. That tensor has the places of all blocks of `others`, equal ones side by side.
    """
    whole = len(others) // _BLOCK * _BLOCK
    parts = [others[i : min(i + _AT_ONCE, whole)].cpu() for i in range(0, whole, _AT_ONCE)]
    blocks = (_of_windows(part)[::_BLOCK] for part in parts)
    hashes, order = torch.cat([torch.empty(0, dtype=torch.int64), *blocks]).sort()
    found = [(torch.empty(0, dtype=torch.int64),) * 3]
    for begin in range(0, max(0, len(ids) - _BLOCK + 1) if len(hashes) else 0, _AT_ONCE):
        windows = _of_windows(ids[begin : begin + _AT_ONCE + _BLOCK - 1].cpu())
        first, end = (torch.searchsorted(hashes, windows, right=right) for right in (False, True))
        (where,) = (first < end).nonzero(as_tuple=True)
        found.append((begin + where, first[where], (end - first)[where]))
    starts, first, count = (torch.cat(each) for each in zip(*found, strict=True))
    return starts, first, count, _BLOCK * order


def _of_windows(ids: Tensor) -> Tensor:
    """The hash of each window of 64 tokens: (N,) -> (N - 63,)."""
    hashes, size, factor = ids + 1, 1, torch.tensor(_FACTOR)
    while size < _BLOCK:
        hashes = hashes[:-size] * factor + hashes[size:]
        size, factor = 2 * size, factor * factor  # modulo 2**64, as int64 has it
    return hashes
