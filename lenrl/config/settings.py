"""The sections of a recipe but for its slots: plain typed values, checked, frozen.

No field has a default here unless older runs lack it: defaults are written once, in `recipes/base.yaml`.
"""

from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from lenrl.options import Options


class Settings(Options):
    """Base of the sections: frozen, unknown keys refused, no infinities."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        protected_namespaces=(),
        coerce_numbers_to_str=True,  # name=1 is a name
    )


class ModelSettings(Settings):
    """The model that is trained. `path` is `tiny` (embedded), a local folder or a hub id."""

    path: str = Field(min_length=1)
    revision: str | None
    tokenizer: str | None
    dtype: Literal["float32", "bfloat16", "float16"] | None
    # Not in recipe.yaml of runs that are older than the key
    micro_batch: int | None = Field(default=None, ge=1)
    attn_implementation: str | None
    trust_remote_code: bool
    chat_template: str | None = None  # not in recipe.yaml of runs that are older than the key
    think_prefilled: bool | None
    peft: dict[str, Any] | None


class UpdateSettings(Settings):
    """Of the update and the evaluation during training, what TRL has no option for."""

    per_rollout: int = Field(default=1, ge=1)  # not in recipe.yaml of runs that are older than the key
    lean: bool
    tokens: int | None = Field(ge=1)
    eval_batch_size: int | None = Field(ge=1)
    # Not in recipe.yaml of runs that are older than the key
    memory_gib: float | None = Field(default=None, gt=0)


class GuardRule(Settings):
    """An action for when a figure of the rollouts has reached a threshold in so many of them in a row."""

    action: Literal["ignore", "warn", "stop"]
    threshold: float
    rollouts: int = Field(ge=1)


class GuardSettings(Settings):
    """Conditions under which a run warns or stops by itself; a rule is null in runs that are older than it."""

    nonfinite: Literal["fail", "drop"]
    truncated_share: float = Field(ge=0, le=1)
    truncated_rollouts: int = Field(ge=1)
    hang_timeout_s: float = Field(ge=1)
    no_signal: GuardRule | None = None
    parts_cancel: GuardRule | None = None
    verifier_fails: GuardRule | None = None
    idle_penalty: GuardRule | None = None
    pushed_down: GuardRule | None = None
    collapse: GuardRule | None = None
    hacks: GuardRule | None = None
    logps_apart: GuardRule | None = None
    copied_example: GuardRule | None = None

    def rule(self, name: str) -> GuardRule | None:
        """The rule of a guard; None: the recipe has none."""
        if name == "truncated":
            return GuardRule(action="stop", threshold=self.truncated_share, rollouts=self.truncated_rollouts)
        return getattr(self, name)


class LoggingSettings(Settings):
    """Logs, and the trackers that get them."""

    report_to: tuple[Literal["wandb", "trackio", "tensorboard", "mlflow"], ...]
    project: str
    # The following are not in recipe.yaml of runs that are older than the keys.
    entity: str | None = None
    group: str | None = None
    tags: tuple[str, ...] = ()
    notes: str | None = None
    completions: bool
    every: int = Field(ge=1)

    @field_validator("report_to", "tags", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        if value is None or value == "none":
            return ()
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _of_wandb(self) -> Self:
        """Refuse what only wandb would read, where it is not reported to."""
        given = [name for name in ("entity", "group", "tags", "notes") if getattr(self, name)]
        if given and "wandb" not in self.report_to:
            raise ValueError(
                f"logging.{given[0]}={getattr(self, given[0])!r} is for wandb, and logging.report_to is "
                f"{list(self.report_to)}: add wandb to it, or leave {given[0]} out"
            )
        return self


class FunctionSettings(Settings):
    """A reward function of a plug-in, by its name: the weight of its part of the reward, or the verdict instead."""

    weight: float = 1.0  # of its part of the reward
    verdict: bool = False  # its 0, 1 or None is the verdict instead


class HubSettings(Settings):
    """The place of the finished model on the hub."""

    push: bool
    repo: str | None
    private: bool


class OtherData(Settings):
    """Data other than the task's that the model is evaluated on, and how; an entry of `evals`.

    It has its defaults here: an entry stands in no file that all recipes begin with. Null: as the rollouts are drawn.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,99}$")  # of its figures and its folder
    task: dict[str, Any]  # a name, a data file, or options as under `task`
    split: Literal["train", "dev", "test"] = "test"  # of the data
    count: int | None = Field(default=None, ge=1)  # problems, the first ones; null: all
    samples: int = Field(default=1, ge=1)  # completions a problem
    greedy: bool = False  # the likeliest token each time; one completion a problem
    max_new_tokens: int | None = Field(default=None, ge=1)  # tokens; null: as the rollouts are drawn
    temperature: float | None = Field(default=None, gt=0)  # null: as the rollouts are drawn
    top_p: float | None = Field(default=None, gt=0, le=1)  # null: as the rollouts are drawn
    top_k: int | None = Field(default=None, ge=0)  # null: as the rollouts are drawn; 0: off
    verifier: dict[str, Any] = {}  # what differs from the recipe's

    @model_validator(mode="after")
    def _one_greedy(self) -> Self:
        if self.greedy and self.samples > 1:
            raise ValueError(
                f"greedy=true gives one completion a problem, {self.samples} samples would be equal; set one of them"
            )
        return self


class FinalEvaluation(Settings):
    """Of the evaluation on the test problems after training."""

    controls: tuple[str, ...] = ()
    control: dict[str, Any] = {}
    hints: bool = False
