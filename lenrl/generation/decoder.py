"""Decoding of a batch: what rows have in common is computed once, and a row that has ended leaves.

Lengths of reasoning spread widely, and transformers' `generate` computes every row until the longest one ends, reads a
group's prompt once a row and copies its cache at each token. Here the rows of a prompt share its reading and their own
tokens too, as long as these are the same: what is computed is a tree, whose branches are the prefixes that differ. The
cache has room (`lenrl.generation.key_values`), and prefixes are taken out of it once an eighth of them have ended.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache

from lenrl.generation.base import CausalLM, Completion
from lenrl.generation.choice import TokenChoice, TokenRule
from lenrl.generation.key_values import cache_name


@dataclass(frozen=True)
class PromptRow:
    """One completion to sample."""

    prompt: Sequence[int]  # token ids, at least one
    cap: int  # tokens of the completion, end-of-text included
    key: int  # of its noise
    used: int = 0  # numbers of its noise: tokens of the completion that stand in the prompt


@dataclass
class _Row:
    """A completion that goes on."""

    place: int  # in the batch
    cap: int
    prefix: int  # the one that it has, of those that are computed
    ids: list[int] = field(default_factory=list)
    logps: list[float] = field(default_factory=list)

    def completion(self, ends: Collection[int], logps: bool) -> Completion | None:
        """The completion, if its last token ended it."""
        ended = self.ids[-1] in ends
        if not ended and len(self.ids) < self.cap:
            return None
        return Completion(self.ids, not ended, self.logps if logps else None)


@dataclass
class _Prefixes:
    """Prefixes that differ, U of them; tensors have the room for all T tokens of prompt and completion."""

    ids_UT: Tensor  # padded on the left by the prompt's first token
    mask_UT: Tensor  # 1: a token, or room for one
    position_U: Tensor  # of the last token

    def select(self, places_K: Tensor) -> None:
        """Go on with the prefixes at these places, each as often as it is named."""
        self.ids_UT, self.mask_UT = self.ids_UT[places_K], self.mask_UT[places_K]
        self.position_U = self.position_U[places_K]


@torch.inference_mode()
def decode(
    model: CausalLM,
    batch: Sequence[PromptRow],
    rule: TokenRule,
    ends: Collection[int],
    cache: DynamicCache,
    *,
    logps: bool = False,
    ended: Callable[[Mapping[int, Completion]], object] = lambda completions: None,
) -> dict[int, Completion]:
    """Completions of N rows, by their place in the batch.

    Args:
        model: a causal language model in evaluation mode.
        batch: the rows; as long as some agree in prompt and tokens, they are computed as one.
        cache: an empty one that rows can be taken out of.
    """
    most = max(row.cap for row in batch)
    prompts = [tuple(row.prompt) for row in batch]
    number = {prompt: number for number, prompt in enumerate(dict.fromkeys(prompts))}
    rows = [_Row(place, row.cap, number[prompts[place]]) for place, row in enumerate(batch)]
    prefixes, logits_UV = _prefill(model, list(number), cache, most)
    width, device = prefixes.ids_UT.shape[1], logits_UV.device
    choose = TokenChoice(rule, [row.key for row in batch], most, [row.used for row in batch])
    completions: dict[int, Completion] = {}
    for place in range(width - most, width):
        of_N = torch.tensor([row.prefix for row in rows], device=device)
        token_N = choose(prefixes.ids_UT[:, :place], logits_UV, of_N)
        scale = 1.0 if rule.raw_logps else rule.temperature
        _append(rows, token_N, _logp(logits_UV / scale, of_N, token_N) if logps else None)
        some = {row.place: done for row in rows if (done := row.completion(ends, logps)) is not None}
        if some:
            completions |= some
            ended(some)
            if len(completions) == len(batch):
                break
            choose.keep(torch.tensor([place for place, row in enumerate(rows) if row.place not in some]))
            rows = [row for row in rows if row.place not in some]
        parents, tokens = _branched(rows, len(logits_UV))
        if parents is not None:
            parents_U = torch.tensor(parents, device=device)
            cache.batch_select_indices(parents_U)
            prefixes.select(parents_U)
        ids_U1 = torch.tensor(tokens, device=device)[:, None]
        prefixes.ids_UT[:, place : place + 1] = ids_U1
        prefixes.position_U += 1
        mask_UT = prefixes.mask_UT[:, : place + 1]
        logits_UV = _forward(model, ids_U1, mask_UT, prefixes.position_U[:, None], cache)
    return completions


def _logp(scaled_UV: Tensor, of_N: Tensor, token_N: Tensor) -> Tensor:
    """(N,) log-probs of the rows' tokens."""
    return scaled_UV[of_N, token_N] - scaled_UV.logsumexp(-1)[of_N]


def _append(rows: Sequence[_Row], token_N: Tensor, logp_N: Tensor | None) -> None:
    for row, token in zip(rows, token_N.tolist(), strict=True):
        row.ids.append(token)
    if logp_N is not None:
        for row, logp in zip(rows, logp_N.tolist(), strict=True):
            row.logps.append(logp)


def _branched(rows: Sequence[_Row], known: int) -> tuple[list[int] | None, list[int]]:
    """The prefixes to go on with, as often as the rows that have one disagree, and the next token of each.

    None: with those that are known, none of which has branched, and most of which some row still has.
    """
    branches = list(dict.fromkeys((row.prefix, row.ids[-1]) for row in rows))
    token_of = dict(branches)
    if len(token_of) == len(branches) and len(branches) * 8 > known * 7:
        return None, [token_of.get(prefix, 0) for prefix in range(known)]
    number = {branch: number for number, branch in enumerate(branches)}
    for row in rows:
        row.prefix = number[row.prefix, row.ids[-1]]
    parents, tokens = zip(*branches, strict=True)
    return list(parents), list(tokens)


def _prefill(
    model: CausalLM, prompts: Sequence[tuple[int, ...]], cache: DynamicCache, most: int
) -> tuple[_Prefixes, Tensor]:
    """The prompts, as prefixes, and the logits (U, V) of the tokens after them."""
    device = next(model.parameters()).device
    width = max(map(len, prompts))
    # The mask comes from lengths: any id may occur inside a prompt. A repetition penalty sees no foreign token.
    ids_US = torch.tensor([[p[0]] * (width - len(p)) + list(p) for p in prompts], device=device)
    mask_US = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)
    position_US = (mask_US.cumsum(-1) - 1).clamp(min=0)
    logits_UV = _forward(model, ids_US, mask_US, position_US, cache)
    ids_UT, mask_UT = pad(ids_US, (0, most)), pad(mask_US, (0, most), value=1)
    return _Prefixes(ids_UT, mask_UT, position_US[:, -1].clone()), logits_UV


def _forward(
    model: CausalLM, ids_NS: Tensor, mask_NT: Tensor, position_NS: Tensor, cache: DynamicCache
) -> Tensor:
    """Logits (N, V), float32, of the token after the last."""
    output = model(
        input_ids=ids_NS,
        attention_mask=mask_NT,
        position_ids=position_NS,
        use_cache=True,
        logits_to_keep=1,
        **{cache_name(model): cache},
    )
    return output.logits[:, -1].float()
