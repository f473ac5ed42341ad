"""The gradient that the trainer hands to its optimizer, next to DRPO's closed form over the rows of all processes."""

import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from tests.training.runs import rows_of, small_run


def compare(run_dir: Path, *, rows: int, micro_batches: int, updates: int) -> dict[str, Any]:
    """Train up to the last update of the first rollout and compare there, in float64.

    Args:
        rows: of an optimizer step and process.
        micro_batches: of an optimizer step.
        updates: optimizer steps a rollout; from the second one on the KL constraint works.

    Returns:
        difference: of the gradients' norm, relative.
        size: norm of the closed form.
        kl: K, nats a token.
        wrapped: class around the model.
        scattered: share of the rollout's groups whose rows one process has in several micro-batches.
        straddling: share of them whose rows are on several processes.
        wrapped: class around the model.
        scattered: share of the groups whose rows of this step are in several micro-batches, or on several
            processes (straddling).
    """
    trainer, verifier = small_run(
        "drpo",
        run_dir,
        f"trainer.per_device_train_batch_size={rows // micro_batches}",
        f"trainer.gradient_accumulation_steps={micro_batches}",
        f"trainer.steps_per_generation={micro_batches * updates}",
        f"trainer.max_steps={updates}",
        "trainer.max_grad_norm=0",
        "trainer.learning_rate=0.02",
        "trainer.warmup_steps=0",
        "trainer.max_completion_length=100",
        "objective.delta=0",
    )
    trainer.model.double()
    number_rows(trainer)
    found: dict[str, Any] = {}

    class Compare(TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, **kwargs):
            if state.global_step != updates - 1:
                return
            parameters = list(trainer.model.parameters())
            ours = torch.cat([p.grad.flatten() for p in parameters])
            processes = trainer.group.gather([trainer._buffered_inputs])
            step = [batches[-micro_batches:] for batches in processes]
            loss, kl = closed_form(trainer, step, processes)
            # not `backward`: it would start another reduction over the processes
            theirs = torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)])
            found.update(difference=((ours - theirs).norm() / theirs.norm()).item())
            found.update(size=theirs.norm().item(), kl=kl, **places(processes, trainer.num_generations))

    trainer.add_callback(Compare())
    with verifier:
        trainer.train()
    return found | {"wrapped": type(trainer.model_wrapped).__name__}


def number_rows(trainer) -> None:
    """Every row of a rollout carries its place in it, which TRL shuffles along with the rest."""
    score = trainer._generate_and_score_completions

    def numbered(inputs):
        output = score(inputs)
        mine = trainer.group.local_slice(len(inputs))
        return output | {"row": torch.arange(mine.start, mine.stop)}

    trainer._generate_and_score_completions = numbered


def closed_form(trainer, step, rollout) -> tuple[torch.Tensor, float]:
    """(`-mean_i A_i s_i + (beta / 2) max(0, K - delta)^2`, K) over the rows of an optimizer step.

    `step` and `rollout` hold, for each process, its micro-batches. Lengths and verdicts are the logged ones.
    """
    log = rows_of(Path(trainer.args.output_dir))
    likely = {}  # mean token log-prob of each row under the policy that sampled it
    for batch in (batch for process in rollout for batch in process):
        mask = batch["completion_mask"].double()
        old = batch.get("old_per_token_logps")
        logp = log_probs(trainer.model, batch).detach() if old is None else old
        likely |= dict(
            zip(batch["row"].tolist(), ((logp * mask).sum(-1) / mask.sum(-1)).tolist(), strict=True)
        )
    advantage = advantages(log, likely, trainer.num_generations, trainer.rollout.method.advantage)
    scores, drift, tokens = [], torch.zeros(()), 0.0
    for batch in (batch for process in step for batch in process):
        mask, logp = batch["completion_mask"].double(), log_probs(trainer.model, batch)
        a = torch.tensor([advantage[row] for row in batch["row"].tolist()])
        scores.append(a * (logp * mask).sum(-1) / mask.sum(-1))
        if "old_per_token_logps" in batch:
            drift = drift + ((batch["old_per_token_logps"] - logp) * mask).sum()
        tokens += mask.sum().item()
    K = drift / tokens
    objective = trainer.rollout.method.objective
    hinge = objective.beta / 2 * (K - objective.delta).clamp(min=0) ** 2
    return -torch.cat(scores).mean() + hinge, K.item()


def advantages(log: list[dict], likely: dict[int, float], size: int, rule) -> dict[int, float]:
    """`+G softmax(-L / (lam L_max))` over a mixed group's correct rows, `-G softmax(s / tau)` over its wrong ones."""
    found: dict[int, float] = dict.fromkeys(range(len(log)), 0.0)
    for start in range(0, len(log), size):
        group = range(start, start + size)
        right = {i: math.exp(-log[i]["tokens"] / (rule.lam * 100)) for i in group if log[i]["verdict"]}
        wrong = {i: math.exp(likely[i] / rule.tau) for i in group if not log[i]["verdict"]}
        if right and wrong:
            found |= {i: size * weight / sum(right.values()) for i, weight in right.items()}
            found |= {i: -size * weight / sum(wrong.values()) for i, weight in wrong.items()}
    return found


def log_probs(model, batch) -> torch.Tensor:
    """(N, T) of the completion's tokens, by a plain forward."""
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    attention = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    width = batch["completion_ids"].size(1)
    logits = model(input_ids=ids, attention_mask=attention).logits[:, -width - 1 : -1]
    return logits.log_softmax(-1).gather(-1, batch["completion_ids"][..., None])[..., 0]


def places(processes, size: int) -> dict[str, float]:
    """Shares of the rollout's groups whose rows are in several micro-batches of a process, and on several processes."""
    seen = defaultdict(set)
    for process, batches in enumerate(processes):
        for place, batch in enumerate(batches):
            for row in batch["row"].tolist():
                seen[row // size].add((process, place))
    on = [{process for process, _ in where} for where in seen.values()]
    scattered = [len(where) > len(processes) for where, processes in zip(seen.values(), on, strict=True)]
    straddling = [len(processes) > 1 for processes in on]
    return {"scattered": sum(scattered) / len(seen), "straddling": sum(straddling) / len(seen)}
