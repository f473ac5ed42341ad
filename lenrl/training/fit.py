"""Settings that a recipe leaves open, chosen for its model, its launch and the memory that there is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lenrl.config import Recipe
from lenrl.config.rollout_size import COMPLETIONS, in_trls_terms
from lenrl.config.validation import checked
from lenrl.config.yaml_files import read_yaml
from lenrl.errors import BadInput
from lenrl.generation.pretrained import load_config
from lenrl.training.hardware import Machine, asks_for_gpus, this_machine
from lenrl.training.sizes import BYTES, GIB, Shape, held_bytes, shape
from lenrl.training.trl_fields import value_of

ASSUMED_GIB = 80.0  # of a GPU, where this machine has none
USABLE = 0.85  # of a device's memory; the rest is for workspaces and fragments
RATE, AT = 2e-6, 1.5e9  # a learning rate of the papers' (recipes/paper/), and the parameters of its model
ADAPTER = 10  # times as high a rate where only an adapter is trained
EVALUATED = 256  # completions sampled at once in evaluations, at most
OPEN = {  # settings that may be null, by section
    "model": ("dtype",),
    "trainer": (
        *("per_device_train_batch_size", "gradient_accumulation_steps", "steps_per_generation"),
        *("learning_rate", "gradient_checkpointing", "use_vllm"),
    ),
    "update": ("eval_batch_size",),
}


@dataclass(frozen=True)
class Fitted:
    """A recipe without open settings, and why each has its value, by key."""

    recipe: Recipe
    reasons: Mapping[str, str]


def fit(recipe: Recipe, processes: int | None = None, machine: Machine | None = None) -> Fitted:
    """Close the open settings: as a run in the recipe's folder began, or else by the model's size.

    Args:
        processes: of the launch; default: as the recipe says.

    Raises:
        BadInput: the model's configuration can't be read, or no setting fits the device.
    """
    plain = recipe.resolved()
    missing = {
        f"{section}.{name}"
        for section, names in OPEN.items()
        for name in names
        if _open(plain, section, name)
    }
    if not missing:
        return Fitted(recipe, {})
    folder = recipe.run_dir()
    reasons = _as_begun(plain, folder)
    still = {key for key in missing if _open(plain, *key.split("."))}
    if still:
        reasons |= _by_size(recipe, plain, processes or int(recipe.launch.get("num_processes", 1)), machine)
    if recipe.output_dir is None and recipe.name is None:
        plain["name"] = folder.name  # settings that fit another machine make no other run
    return Fitted(checked(plain), {key: reason for key, reason in reasons.items() if key in missing})


def learning_rate_for(parameters: int, *, adapter: bool) -> float:
    """A learning rate for AdamW: between models, it falls with the square root of their size.

    Through 2e-6 at 1.5B parameters the line meets the papers' 1e-6 at 7B, and within a fifth the rate that was found
    for the embedded model, of 177,000. LoRA takes about ten times as much (thinkingmachines.ai/blog/lora, 2025).

    >>> [learning_rate_for(n, adapter=False) for n in (177_000, 1_500_000_000, 7_000_000_000)]
    [0.00018, 2e-06, 9.3e-07]
    """
    rate = RATE * (AT / max(1, parameters)) ** 0.5 * (ADAPTER if adapter else 1)
    return float(f"{rate:.1e}")


def memory_gib(recipe: Recipe, machine: Machine) -> tuple[float, str]:
    """Memory of a process's device, and whose it is."""
    if recipe.update.memory_gib is not None:
        return recipe.update.memory_gib, "update.memory_gib"
    if not asks_for_gpus(recipe.launch):
        local = int(recipe.launch.get("num_processes", 1)) // max(
            1, int(recipe.launch.get("num_machines", 1))
        )
        return machine.ram_gib / max(1, local), "this machine's, by its processes"
    if machine.gpus:
        return machine.gpu_gib, "this machine's GPU"
    return ASSUMED_GIB, "assumed; update.memory_gib says otherwise"


def _open(plain: Mapping[str, Any], section: str, name: str) -> bool:
    return plain[section].get(name) is None


def _as_begun(plain: dict[str, Any], folder: Any) -> dict[str, str]:
    """In place, the settings that a run in this folder began with."""
    try:
        former = read_yaml(folder / "recipe.yaml")
    except (OSError, BadInput):  # no run yet; what can't be read is refused where the folder is looked at
        return {}
    reasons = {}
    for section, names in OPEN.items():
        of_former = former.get(section) if isinstance(former, dict) else None
        for name in names:
            value = of_former.get(name) if isinstance(of_former, dict) else None
            if value is not None and _open(plain, section, name):
                plain[section][name] = value
                reasons[f"{section}.{name}"] = "as this run began"
    return reasons


def _by_size(
    recipe: Recipe, plain: dict[str, Any], processes: int, machine: Machine | None
) -> dict[str, str]:
    """In place, settings for the model's size; the reason of each by key."""
    of = shape(load_config(recipe.model.path, recipe.model), recipe.model.peft)
    return _Choice(recipe, plain, of, processes, machine or this_machine()).reasons


class _Choice:
    """The open settings of one recipe, chosen one after the other."""

    def __init__(
        self, recipe: Recipe, plain: dict[str, Any], of: Shape, processes: int, machine: Machine
    ) -> None:
        self.recipe, self.plain, self.of, self.processes = recipe, plain, of, processes
        self.launch, self.trainer = recipe.launch, plain["trainer"]
        self.machine = machine
        self.reasons: dict[str, str] = {}
        gib, whose = memory_gib(recipe, machine)
        self.room = gib * GIB * USABLE
        self.device = f"{gib:.0f} GiB ({whose})"
        self._dtype()
        self._learning_rate()
        self.size = BYTES[plain["model"]["dtype"]]
        beta = float(value_of(self.trainer, "beta") or 0)
        peft = recipe.model.peft
        teacher = recipe.method.keeps_teacher(adapters=bool(peft))
        dtype = plain["model"]["dtype"]
        self.held = sum(
            held_bytes(of, self.launch, dtype, peft, processes=processes, beta=beta, teacher=teacher)
        )
        self._sampler()
        self._micro_batch()
        self._evaluation()

    def _set(self, section: str, name: str, value: Any, reason: str) -> None:
        if _open(self.plain, section, name):
            self.plain[section][name] = value
            self.reasons[f"{section}.{name}"] = reason

    def _dtype(self) -> None:
        sharded = bool(self.launch.get("deepspeed_config") or self.launch.get("fsdp_config"))
        half = sharded and self.launch.get("mixed_precision") == "bf16"
        if half:
            reason = "launch keeps float32 weights beside them"
        elif self.recipe.model.peft and asks_for_gpus(self.launch):
            half, reason = True, "they stay as they are, an adapter is trained"
        else:
            reason = "Adam moves them, by steps that bfloat16 would lose"
        self._set("model", "dtype", "bfloat16" if half else "float32", reason)

    def _learning_rate(self) -> None:
        rate = learning_rate_for(self.of.parameters, adapter=bool(self.recipe.model.peft))
        kind = ", of which an adapter is trained" if self.recipe.model.peft else ""
        self._set("trainer", "learning_rate", rate, f"for {self.of.parameters / 1e9:.2g}B parameters{kind}")

    def _sampler(self) -> None:
        """vLLM where keys and values of a process's share of a rollout would not fit beside what is held."""
        rows = (self.trainer.get("generation_batch_size") or COMPLETIONS) / self.processes
        cache = rows * self.of.cache_bytes(self.tokens, self.size)
        needed = asks_for_gpus(self.launch) and self.held + cache > self.room
        reason = (
            f"keys and values of {rows:.0f} completions take {cache / GIB:.0f} GiB at most, of {self.device}"
        )
        if not needed and self.machine.vllm and self.machine.gpus:
            needed, reason = asks_for_gpus(self.launch), "vLLM is installed"
        self._set("trainer", "use_vllm", needed, reason)
        if self.trainer["use_vllm"] and value_of(self.trainer, "vllm_mode") == "colocate":
            self.room -= self.room / USABLE * value_of(self.trainer, "vllm_gpu_memory_utilization")

    @property
    def tokens(self) -> int:
        return int(self.trainer["max_completion_length"])

    def _row(self, checkpointed: bool) -> float:
        """Bytes that one completion of an update takes."""
        kept = self.of.activation_bytes(self.tokens, self.size, checkpointed=checkpointed)
        return kept + self.of.logit_bytes(self.tokens)

    def _micro_batch(self) -> None:
        if self.trainer.get("gradient_checkpointing") is None:
            needed = self.held + self._row(False) > self.room
            words = "does not fit" if needed else "fits"
            self._set(
                "trainer",
                "gradient_checkpointing",
                needed,
                f"one completion of {self.tokens} tokens {words} without, in {self.device}",
            )
        most = int((self.room - self.held) / self._row(bool(self.trainer["gradient_checkpointing"])))
        if most < 1:
            raise BadInput(self._too_large())
        update = self.plain["update"]
        limit = min(most, self.recipe.model.micro_batch or most)
        sized = in_trls_terms(self.trainer, update["per_rollout"], self.processes, limit)
        rows, *others = OPEN["trainer"][:3]
        self._set("trainer", rows, sized[rows], f"at most {most} of {self.tokens} tokens fit {self.device}")
        for name in others:
            self._set("trainer", name, sized[name], "by the rollout's size and update.per_rollout")

    def _evaluation(self) -> None:
        weights = self.of.parameters * self.size
        rows = int((self.room - weights) / self.of.cache_bytes(self.tokens, self.size))
        self._set("update", "eval_batch_size", max(1, min(EVALUATED, rows)), f"what fits {self.device}")

    def _too_large(self) -> str:
        need = (self.held + self._row(True)) / GIB
        vllm = " and vLLM's share" if self.trainer["use_vllm"] else ""
        return (
            f"model.path={self.recipe.model.path!r}: one completion of {self.tokens} tokens needs about {need:.0f} GiB "
            f"a process, with gradient checkpointing, and it has {self.device}, of which {self.room / GIB:.0f} are "
            f"left after workspaces{vllm}. {remedies(self.recipe)}"
        )


def remedies(recipe: Recipe) -> str:
    """Settings that take less memory than the recipe's, in words."""
    launch, others = recipe.launch, []
    sharded = (launch.get("deepspeed_config") or {}).get("zero_stage") == 3 or launch.get("fsdp_config")
    if asks_for_gpus(launch) and not sharded:
        others.append("launch=zero3 (weights are sharded)")
    if not recipe.model.peft:
        others.append("model.peft={r: 16, lora_alpha: 32} (an adapter is trained)")
    others.append("a lower trainer.max_completion_length")
    others.append("update.memory_gib=N if a device has N GiB")
    return f"What takes less: {'; '.join(others)}."
