"""Decoding of a batch: each prompt is read once, and a row that has ended leaves.

Lengths of reasoning spread widely, and transformers' `generate` computes every row until the longest one ends, reads a
group's prompt once a row and copies its cache at each token. Here the rows of a prompt share its reading, the cache
has room (`lenrl.generation.key_values`), and rows are taken out of it once an eighth of them have ended.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache

from lenrl.generation.base import CausalLM, Completion
from lenrl.generation.choice import TokenChoice, TokenRule


@dataclass(frozen=True)
class PromptRow:
    """One completion to sample."""

    prompt: Sequence[int]  # token ids, at least one
    cap: int  # tokens of the completion, end-of-text included
    key: int  # of its noise


@dataclass
class _Running:
    """The rows that are computed, N of them; tensors have the room for all T tokens of prompt and completion."""

    rows: list[int]  # their numbers in the batch
    ids_NT: Tensor  # padded on the left by the prompt's first token
    mask_NT: Tensor  # 1: a token, or room for one
    position_N: Tensor  # of the last token
    cap_N: Tensor
    logp_NT: Tensor | None  # of the completion's tokens
    ended_N: Tensor  # bool

    def select(self, places_K: Tensor) -> None:
        """Go on with the rows at these places."""
        self.rows = [self.rows[place] for place in places_K.tolist()]
        for name in ("ids_NT", "mask_NT", "position_N", "cap_N", "logp_NT", "ended_N"):
            value = getattr(self, name)
            setattr(self, name, None if value is None else value[places_K])


@torch.no_grad()
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
        batch: the rows; equal prompts are read once.
        rule: how tokens are chosen.
        ends: ids that end a completion.
        cache: an empty one that rows can be taken out of.
        logps: completions come with `logps`.
        ended: takes completions as they end.
    """
    most = max(row.cap for row in batch)
    running, logits_NV = _prefill(model, batch, cache, most, logps)
    width = running.ids_NT.shape[1] - most
    choose = TokenChoice(rule, [row.key for row in batch], most)
    ends_E = torch.tensor(sorted(ends), device=logits_NV.device)
    completions: dict[int, Completion] = {}
    for place in range(most):
        token_N = choose(running.ids_NT[:, : width + place], logits_NV)
        running.ids_NT[:, width + place] = token_N
        if running.logp_NT is not None:
            scaled_NV = logits_NV / rule.temperature
            chosen_N = scaled_NV.gather(-1, token_N[:, None]).squeeze(1)
            running.logp_NT[:, place] = chosen_N - scaled_NV.logsumexp(-1)
        stopped_N = torch.isin(token_N, ends_E)
        now_N = (stopped_N | (running.cap_N == place + 1)) & ~running.ended_N
        if now_N.any():
            some = _completed(running, now_N, stopped_N, slice(width, width + place + 1))
            completions |= some
            ended(some)
            if len(completions) == len(batch):
                break
            running.ended_N |= now_N
            if int(running.ended_N.sum()) * 8 >= len(running.rows):
                going_K = (~running.ended_N).nonzero().flatten()
                cache.batch_select_indices(going_K)
                choose.keep(going_K)
                running.select(going_K)
        running.position_N += 1
        ids_N1 = running.ids_NT[:, width + place, None]
        mask_NT = running.mask_NT[:, : width + place + 1]
        logits_NV = _forward(model, ids_N1, mask_NT, running.position_N[:, None], cache)
    return completions


def _prefill(
    model: CausalLM, batch: Sequence[PromptRow], cache: DynamicCache, most: int, logps: bool
) -> tuple[_Running, Tensor]:
    """The rows before their first token, and its logits (N, V). Leaves the N rows' prompts in the cache."""
    device = next(model.parameters()).device
    prompts = [tuple(row.prompt) for row in batch]
    places = {prompt: place for place, prompt in enumerate(dict.fromkeys(prompts))}
    width = max(map(len, places))
    # The mask comes from lengths: any id may occur inside a prompt. A repetition penalty sees no foreign token.
    ids_PS = torch.tensor([[p[0]] * (width - len(p)) + list(p) for p in places], device=device)
    mask_PS = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in places], device=device)
    position_PS = (mask_PS.cumsum(-1) - 1).clamp(min=0)
    logits_PV = _forward(model, ids_PS, mask_PS, position_PS, cache)
    of_N = torch.tensor([places[prompt] for prompt in prompts], device=device)
    cache.batch_select_indices(of_N)
    running = _Running(
        rows=list(range(len(batch))),
        ids_NT=pad(ids_PS[of_N], (0, most)),
        mask_NT=pad(mask_PS[of_N], (0, most), value=1),
        position_N=position_PS[of_N, -1],
        cap_N=torch.tensor([row.cap for row in batch], device=device),
        logp_NT=logits_PV.new_zeros(len(batch), most) if logps else None,
        ended_N=torch.zeros(len(batch), dtype=torch.bool, device=device),
    )
    return running, logits_PV[of_N]


def _forward(
    model: CausalLM, ids_NS: Tensor, mask_NT: Tensor, position_NS: Tensor, cache: DynamicCache
) -> Tensor:
    """Logits (N, V), float32, of the token after the last."""
    output = model(
        input_ids=ids_NS,
        attention_mask=mask_NT,
        position_ids=position_NS,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return output.logits[:, -1].float()


def _completed(running: _Running, now_N: Tensor, stopped_N: Tensor, tokens: slice) -> dict[int, Completion]:
    """Completions, by row, of the rows that have just ended; `tokens`: the columns of completions."""
    found = {}
    for place in now_N.nonzero().flatten().tolist():
        ids = running.ids_NT[place, tokens].tolist()
        logps = None if running.logp_NT is None else running.logp_NT[place, : len(ids)].tolist()
        found[running.rows[place]] = Completion(ids, not bool(stopped_N[place]), logps)
    return found
