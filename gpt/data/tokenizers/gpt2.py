"""GPT-2's subwords, from tiktoken."""

import itertools
from typing import TYPE_CHECKING

from gpt.base.errors import UnavailableError, require_extra
from gpt.data.byte_level import format_token
from gpt.data.corpus import Text
from gpt.data.tokenizers.subwords import BytePairs

if TYPE_CHECKING:
    import tiktoken


class GPT2Subwords(BytePairs):
    """Subwords that are given rather than learned."""

    @classmethod
    def built_for(cls, corpus: Text) -> "GPT2Subwords":  # noqa: ARG003
        """GPT-2's 50,257 subwords, from tiktoken, which downloads them the first time.

        Raises RequestError if it is not installed, UnavailableError if it cannot download them.
        """
        with require_extra("subwords"):
            import tiktoken
        try:
            return cls.of_tiktoken(tiktoken.get_encoding("gpt2"))
        except OSError:
            raise UnavailableError(
                "tiktoken cannot download GPT-2's vocabulary: try again with a network, or set TIKTOKEN_CACHE_DIR to a "
                "folder where it has been downloaded"
            ) from None

    @classmethod
    def of_tiktoken(cls, encoding: "tiktoken.Encoding") -> "GPT2Subwords":
        """The tokenizer with the ids of this one of tiktoken, if its pattern is GPT-2's."""
        tokens = [encoding.decode_single_token_bytes(i) for i in range(encoding.n_vocab)]
        special = {encoding.encode_single_token(token) for token in encoding.special_tokens_set}
        ranks = {token: i for i, token in enumerate(tokens) if i not in special}
        merged = (_parts(token, ranks) for token in ranks if len(token) > 1)
        merges = [(format_token(first), format_token(second)) for first, second in merged]
        return cls([format_token(token) for token in tokens], merges)


def _parts(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    """The two tokens that a token is merged from: its byte-pair encoding without the last merge."""
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        pairs = [ranks.get(first + second, len(ranks)) for first, second in itertools.pairwise(parts)]
        lowest = pairs.index(min(pairs))
        parts[lowest : lowest + 2] = [parts[lowest] + parts[lowest + 1]]
    first, second = parts
    return first, second
