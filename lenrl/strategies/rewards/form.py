"""One thinking, one answer, and nothing said twice."""

import torch
from pydantic import Field

from lenrl.rollouts import Readable, Rollouts
from lenrl.strategies.base import Reward


class Format(Reward):
    """Pays well-formed tags, less the more is repeated: `r = think * answer * (1 - rho)`.

    `think` and `answer`: 1 where these tags are well formed. `rho` is the share of the completion's windows of `n`
    tokens that occurred in it before; 0 without `repeats`. With `range` under `weighted` and `advantage: decoupled`
    it is the method of LongWriter-Zero without its writing reward.

    Source: LongWriter-Zero, arXiv 2506.18841, whose repetition is a model's overlap of meaning; windows of 13 tokens:
    Self-Lengthen, arXiv 2410.23933.

    Degenerate cases: a completion shorter than `n` repeats nothing.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> ids = [*range(50), *range(13), *range(63, 100)]
    >>> other = [*range(100)], [1] * 100, [1] * 12
    >>> show(Format()(GROUP.with_(carried={"token_ids": ((ids, *other),)})))
    [[0.9886, 1.0, 0.0114, 1.0]]
    """

    name = "format"
    reads_verdicts = False
    reads_format = True

    n: int = Field(default=13, ge=1)  # tokens of a window
    repeats: bool = True  # pay less for windows that come again

    @property
    def reads(self) -> tuple[Readable, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Token ids, where repeats are looked for."""
        return ("token_ids",) if self.repeats else ()

    def __call__(self, rollouts: Rollouts) -> torch.Tensor:
        formed_PG = (rollouts.think_tags_PG & rollouts.answer_tags_PG).double()
        if not self.repeats:
            return formed_PG
        shares = [[self._repeated(ids) for ids in group] for group in rollouts.token_ids_PG]
        return formed_PG * (1 - torch.tensor(shares, dtype=torch.float64))

    def _repeated(self, ids: tuple[int, ...]) -> float:
        """Share of the windows that occurred before."""
        windows = len(ids) - self.n + 1
        if windows < 1:
            return 0.0
        # Hashes, of 64 bits: windows of many tokens would fill the memory
        different = {hash(tuple(ids[place : place + self.n])) for place in range(windows)}
        return 1 - len(different) / windows
