"""Settings of an evaluation: what `lenrl eval key=value` fills, with defaults and bounds."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from lenrl.generation.base import Count, Decoding, SamplingOptions
from lenrl.generation.engines import EngineOptions
from lenrl.generation.pretrained import Flag


class EvalSettings(SamplingOptions, EngineOptions):
    """Settings that all models share; `max_new_tokens` is lowered, with a warning, to what a model's context leaves."""

    greedy: Flag = False  # instead of sampling
    decodings: tuple[Literal["sampled", "greedy"], ...] = ()  # each is measured; overrides `greedy`
    batch_size: Count | None = None  # rows at a time; None: the engine's choice
    budget: Count | None = None  # tokens: largest budget of the accuracies within one; None: the cap
    # Steps of a bucket of the length-filtered vote; None: `measures.VOTE_WIDTH`.
    vote_width: Count | None = None
    split: str = "test"  # of the task's problems
    # NAME or NAME@DIAL each: training-free ways to think shorter, beside `none`, which is always measured.
    controls: tuple[str, ...] = ()
    hints: Flag = False  # a model of a run is asked with the words of the run's budget too
    control: dict[str, object] = {}  # for `ControlOptions`
    # Of each prompt's correct completions, for --sft; None: the shortest.
    sft_pick: Literal["shortest", "longest", "first"] | None = None
    # Completions come with summaries of their log-probs, and pairs with `cascade`.
    logps: Flag = False
    structure: Literal["off", "cues", "exact", "judge"] = "off"  # of the thinking: who reads it
    judge_url: str | None = None  # of an OpenAI-compatible server, for structure=judge
    judge_model: str | None = None  # what the server calls it
    judge_prompts: Count = 100  # of which completions are judged, the first ones
    judge_samples: Count = 4  # of each
    judge_tokens: Count = 2_000_000  # that a model's judgement may cost, as estimated
    verifier: dict[str, object] = {}  # for `VerifierSettings`, whose kind is the task's by default

    @model_validator(mode="after")
    def _has_a_judge(self) -> EvalSettings:
        named = self.judge_url is not None and self.judge_model is not None
        if (self.structure == "judge") != named:
            raise ValueError("structure=judge needs judge_url and judge_model; no other one has a judge")
        idle = self.model_fields_set & {"judge_prompts", "judge_samples", "judge_tokens"}
        if idle and self.structure != "judge":
            raise ValueError(f"{', '.join(sorted(idle))}: nothing without structure=judge; leave it out")
        return self

    def each_decoding(self) -> list[Decoding]:
        """The decodings to measure, in order; a greedy one has nothing but its cap."""
        sampled = Decoding(**{name: getattr(self, name) for name in SamplingOptions.model_fields})
        greedy = Decoding(name="greedy", max_new_tokens=self.max_new_tokens)
        names = self.decodings or ("greedy" if self.greedy else "sampled",)
        return [greedy if name == "greedy" else sampled for name in dict.fromkeys(names)]
