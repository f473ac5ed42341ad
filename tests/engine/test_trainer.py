"""The trainer on the embedded model: real rollouts, real gradients, one process and two."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lenrl.errors import RunFailed
from tests.engine.runs import small_run

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "recipes" / "launch"


def launch(config: str, out: Path, *arguments: str) -> subprocess.CompletedProcess:
    """A real `accelerate launch` of a test worker."""
    command = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--config_file",
        str(LAUNCH / f"{config}.yaml"),
    ]
    command += [str(ROOT / "tests/engine/compare_advantages.py"), str(out), *arguments]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )


def test_our_grpo_advantage_is_trl_s_own_on_one_process(tmp_path):
    from trl import GRPOTrainer

    from tests.engine.compare_advantages import main

    original = GRPOTrainer._generate_and_score_completions
    try:
        main(tmp_path, ["trainer.max_completion_length=120"])
    finally:
        GRPOTrainer._generate_and_score_completions = original
    found = json.loads((tmp_path / "rank0.json").read_text())
    ours, theirs = torch.tensor(found["ours"]), torch.tensor(found["theirs"])
    assert ours.abs().sum() > 0, "no group had a signal: the test shows nothing"
    assert (ours - theirs).abs().max() < 1e-6


def test_our_grpo_advantage_is_trl_s_own_where_groups_straddle_processes(tmp_path):
    """G=4 and 6 rows a process: the second group has two rows on each."""
    done = launch(
        "cpu2", tmp_path, "trainer.per_device_train_batch_size=6", "trainer.max_completion_length=120"
    )
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    for found in ranks:
        assert found["processes"] == 2
        assert found["backend"] == "gloo"
        assert found["wrapped"] == "DistributedDataParallel"
        ours, theirs = torch.tensor(found["ours"]), torch.tensor(found["theirs"])
        assert ours.shape == (2, 6)
        assert (ours - theirs).abs().max() < 1e-6
    assert ranks[0]["weights"] == ranks[1]["weights"]
    assert any(torch.tensor(found["ours"]).abs().sum() > 0 for found in ranks)


def drpo_gradient(tmp_path, micro_batches: int, updates: int, step: int) -> tuple[dict, dict]:
    """(gradient of the trainer, closed form) at an optimizer step, in float64."""
    rows = 32 // micro_batches
    trainer, verifier = small_run(
        "drpo",
        tmp_path,
        f"trainer.per_device_train_batch_size={rows}",
        f"trainer.gradient_accumulation_steps={micro_batches}",
        f"trainer.steps_per_generation={micro_batches * updates}",
        f"trainer.max_steps={step}",
        "trainer.max_grad_norm=0",
        "trainer.learning_rate=0.02",
        "trainer.warmup_steps=0",
        "trainer.max_completion_length=100",
        "objective.delta=0",
    )
    trainer.model.double()
    found: dict[str, torch.Tensor] = {}
    expected: dict[str, torch.Tensor] = {}
    from transformers import TrainerCallback

    class Capture(TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, **kwargs):
            if state.global_step != step - 1:
                return
            found.update({n: p.grad.clone() for n, p in trainer.model.named_parameters()})
            last = trainer._step - 1  # the micro-batch that was just seen
            size = args.steps_per_generation
            window = [trainer._buffered_inputs[(last - j) % size] for j in range(micro_batches)]
            trainer.model.zero_grad()
            closed_form(trainer, window).backward()
            expected.update({n: p.grad.clone() for n, p in trainer.model.named_parameters()})

    trainer.add_callback(Capture())
    with verifier:
        trainer.train()
    return found, expected


def closed_form(trainer, window) -> torch.Tensor:
    """-mean_i A_i s_i + (beta/2) max(0, K - delta)^2 over the rows of an optimizer step."""
    scores, advantages, drift, tokens = [], [], 0.0, 0
    for batch in window:
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
        attention = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
        width = batch["completion_ids"].size(1)
        logits = trainer.model(input_ids=ids, attention_mask=attention).logits[:, -width - 1 : -1]
        logp = logits.log_softmax(-1).gather(-1, batch["completion_ids"][..., None])[..., 0]
        mask = batch["completion_mask"].double()
        scores.append((logp * mask).sum(-1) / mask.sum(-1))
        advantages.append(batch["advantages"].double())
        if "old_per_token_logps" in batch:
            drift = drift + ((batch["old_per_token_logps"] - logp) * mask).sum()
        tokens += mask.sum()
    objective = trainer.method.objective
    loss = -(torch.cat(advantages) * torch.cat(scores)).mean()
    K = drift / tokens
    if isinstance(K, torch.Tensor) and K.requires_grad:
        loss = loss + objective.beta / 2 * (K - objective.delta).clamp(min=0) ** 2
    return loss


def relative_difference(found: dict, expected: dict) -> float:
    difference = sum((found[n] - expected[n]).double().pow(2).sum().item() for n in expected)
    return math.sqrt(difference / sum(expected[n].double().pow(2).sum().item() for n in expected))


@pytest.mark.parametrize("micro_batches", [1, 2, 4])
def test_drpo_gradient_through_the_trainer_is_the_closed_form(tmp_path, micro_batches):
    found, expected = drpo_gradient(tmp_path, micro_batches, updates=1, step=1)
    assert sum(g.abs().sum().item() for g in expected.values()) > 0
    assert relative_difference(found, expected) < 1e-5


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_drpo_gradient_with_its_kl_term_is_the_closed_form(tmp_path, micro_batches):
    """The second of two updates a rollout: the policy has moved, the constraint works."""
    found, expected = drpo_gradient(tmp_path, micro_batches, updates=2, step=2)
    assert relative_difference(found, expected) < 1e-5


def test_metrics_and_completions_of_a_run(tmp_path):
    trainer, verifier = small_run("drpo", tmp_path, "trainer.max_completion_length=120")
    with verifier:
        trainer.train()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    promised = [
        "step",
        "reward",
        "grad_norm",
        "kl",
        "accuracy",
        "tokens_mean",
        "tokens_p50",
        "tokens_p95",
        "tokens_sampled_mean",
        "truncated_share",
        "groups_with_signal",
        "correct_pushed_down",
        "penalty_leverage",
        "useful_token_share",
        "verifier_timeouts",
        "verifier_errors",
        "time_generate_s",
        "time_verify_s",
        "time_update_s",
        "time_step_s",
        "tokens_per_s",
    ]
    for line in lines:
        assert set(promised) <= set(line)
        assert line["kl"] is None, "no reference model, no KL"
        assert line["correct_pushed_down"] == 0, "DRPO never pushes a correct completion down"
        assert 0 < line["useful_token_share"] <= 1
        parts = line["time_generate_s"] + line["time_verify_s"] + line["time_update_s"]
        assert parts <= line["time_step_s"] * 1.001
    import pyarrow.parquet as pq

    table = pq.read_table(sorted((tmp_path / "completions").glob("*.parquet"))[0]).to_pylist()
    assert len(table) == 16 * 4, "the recipe uses a rollout for 4 updates"
    assert {"step", "prompt", "completion", "verdict", "tokens", "kept_tokens", "reward", "advantage"} <= set(
        table[0]
    )
    for row in table:
        tokens = trainer.processing_class(row["completion"], add_special_tokens=False)["input_ids"]
        assert row["tokens"] in (len(tokens), len(tokens) + 1), "the completion's tokens, and its EOS"


def test_a_loss_that_is_not_finite_stops_the_run_before_the_step(tmp_path):
    trainer, verifier = small_run("grpo", tmp_path)
    before = {n: p.clone() for n, p in trainer.model.named_parameters()}
    original = trainer._get_per_token_logps_and_entropies

    def broken(*args, **kwargs):
        logps, *rest = original(*args, **kwargs)
        return logps * float("nan"), *rest

    trainer._get_per_token_logps_and_entropies = broken
    with verifier, pytest.raises(RunFailed, match="loss is nan at optimizer step 1"):
        trainer.train()
    assert all(torch.equal(p, before[n]) for n, p in trainer.model.named_parameters())


def test_a_run_whose_completions_all_hit_the_cap_is_stopped_with_advice(tmp_path):
    trainer, verifier = small_run(
        "grpo",
        tmp_path,
        "trainer.max_completion_length=3",
        "guard.truncated_share=0.9",
        "trainer.max_steps=20",
    )
    with verifier, pytest.raises(RunFailed, match="hit the cap of 3 tokens"):
        trainer.train()
    assert trainer.state.global_step < 20
