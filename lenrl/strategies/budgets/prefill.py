"""The first tokens of a completion, forced: half a group thinks, half does not."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from lenrl.strategies.base import Budget, Forbidden, PromptBudget, RunInfo


class Prefill(Budget):
    """Gives the rows of a group the field `mode`, `long` and `short` in turn, and the words that each begins with.

    The forced words are tokens of the completion: they count in its length, in the loss and in its log-probs. In them
    `{think}` is an opening `<think>`, or nothing where the chat template has opened it. A row also gets `forced_share`,
    the share of its mode in the group, with which the forced tokens were sampled. Nothing is forced in evaluations.

    Source: AdaptThink, arXiv 2505.13417: `</think>`, or the model's usual first word, `Alright` in the authors' script.

    Degenerate cases: an odd group has one long row more; an empty text forces nothing. The rows of a group begin
    differently, so nothing may sample them from one prompt: TRL's vLLM server does and is refused.

    >>> [(row.columns["mode"], row.forced) for row in Prefill()(["q"] * 2, [{}] * 2, 0, RunInfo(2, 4096))]
    [('long', '{think}'), ('short', '{think}</think>')]
    """

    name = "prefill"
    gives = ("mode", "forced_share")
    gives_budget = False
    forbids = (
        Forbidden(
            "vllm_mode",
            "server",
            "the server samples a whole group from one prompt, and rows begin differently",
        ),
    )

    long: str = "{think}"
    short: str = "{think}</think>"
    short_cap: int = Field(default=4096, ge=1)  # tokens of a short row, at most

    def __call__(
        self, prompt_ids: Sequence[str], columns: Sequence[Mapping[str, Any]], step: int, run_info: RunInfo
    ) -> list[PromptBudget]:
        size = run_info.num_generations or len(prompt_ids)
        short = size // 2 / size
        cap = min(self.short_cap, run_info.max_length)
        of_mode = {
            "long": PromptBudget(forced=self.long, columns={"mode": "long", "forced_share": 1 - short}),
            "short": PromptBudget(
                forced=self.short, cap=cap, columns={"mode": "short", "forced_share": short}
            ),
        }
        return [of_mode["long" if row % size % 2 == 0 else "short"] for row in range(len(prompt_ids))]

    def errors(self, run_info: RunInfo) -> list[str]:
        if self.long == self.short:
            return [f"budget 'prefill' has long={self.long!r} and short the same: the modes would not differ"]
        return []
