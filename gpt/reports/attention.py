"""A picture of attention weights: a row a layer, a column a head."""

from collections.abc import Iterable, Sequence

from torch import Tensor

from gpt.base.errors import RequestError
from gpt.base.pictures import picture
from gpt.reports.run import Picture

_INCHES, _MOST_LABELS = 2.6, 40  # of a panel; more tokens than this would overlap


class AttentionMaps(list[Tensor]):
    """The attention weights of each layer, (H, T, T)."""

    def __init__(self, weights: Iterable[Tensor], tokens: Sequence[str]) -> None:
        super().__init__(weights)
        self._tokens = tokens

    def plot(self) -> Picture:
        """Each head as a square: a row is a token, and darker columns are those that it attends to more.

        Raises RequestError for a stage without attention.
        """
        from matplotlib.figure import Figure  # slow to import

        if not self:
            raise RequestError("this stage computes no attention weights: there is nothing to draw")
        columns = max(map(len, self))
        figure = Figure(figsize=(_INCHES * columns, _INCHES * len(self)), layout="constrained")
        rows = figure.subplots(len(self), columns, squeeze=False)
        labels = [repr(token)[1:-1] for token in self._tokens] if len(self._tokens) <= _MOST_LABELS else []
        for layer, weights in enumerate(self):
            for head, axes in enumerate(rows[layer][: len(weights)]):
                axes.imshow(weights[head], cmap="Blues", vmin=0, vmax=1)
                axes.set_title(f"layer {layer}, head {head}", fontsize="small")
                for mark in (axes.set_xticks, axes.set_yticks):
                    mark(range(len(labels)), labels, fontsize="x-small", parse_math=False)
        return Picture(picture(figure))
