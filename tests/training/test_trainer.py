"""The trainer on the embedded model: real rollouts, on one process."""

import pytest
import torch

from lenrl.errors import RunFailed
from tests.training.runs import METRICS, lines_of, rows_of, small_run
from tests.training.trl_advantages import compare


def test_our_grpo_advantage_is_trl_s_own_on_one_process(tmp_path):
    found = compare(tmp_path)
    ours, theirs = torch.tensor(found["ours"]), torch.tensor(found["theirs"])
    assert ours.abs().sum() > 0, "no group had a signal: the test shows nothing"
    assert (ours - theirs).abs().max() < 1e-6


def test_metrics_and_completions_of_a_run(tmp_path):
    trainer, verifier = small_run("drpo", tmp_path, "trainer.max_completion_length=120")
    with verifier:
        trainer.train()
    lines = lines_of(tmp_path)
    assert [line["step"] for line in lines] == [1, 2]
    for line in lines:
        assert set(line) >= METRICS
        assert line["kl"] is None, "no reference model, no KL"
        assert line["correct_pushed_down"] == 0, "DRPO never pushes a correct completion down"
        assert 0 < line["useful_token_share"] <= 1
        parts = line["time_generate_s"] + line["time_verify_s"] + line["time_update_s"]
        assert parts <= line["time_step_s"] * 1.001
        assert line["clip_ratio_low"] is None, "DRPO has no ratio"
    table = rows_of(tmp_path)
    sampled = [line["tokens_generated_total"] for line in lines]
    assert sampled == [sum(row["tokens"] for row in table)] * 2, "both steps are of one rollout"
    assert 0 < lines[0]["tokens_trained_total"] < lines[1]["tokens_trained_total"]
    assert all(row["mean_logp"] < 0 for row in table)
    assert len(table) == 16 * 4, "the recipe uses a rollout for 4 updates"
    assert {"step", "prompt", "completion", "verdict", "tokens", "kept_tokens", "reward", "advantage"} <= set(
        table[0]
    )
    for row in table:
        tokens = trainer.processing_class(row["completion"], add_special_tokens=False)["input_ids"]
        assert row["tokens"] in (len(tokens), len(tokens) + 1), "the completion's tokens, and its EOS"


def test_the_share_of_tokens_at_a_clip_and_log_probs_that_the_update_needs_are_logged(tmp_path):
    """A narrow clip: from the second step of a rollout on ratios are outside. TRL's loss has no other log-probs."""
    options = ["update.per_rollout=2", "trainer.generation_batch_size=16", "trainer.epsilon=1e-3"]
    options += ["trainer.warmup_steps=0", "trainer.learning_rate=1e-2"]
    trainer, verifier = small_run("grpo", tmp_path, *options, "trainer.per_device_train_batch_size=8")
    with verifier:
        trainer.train()
    first, second = lines_of(tmp_path)
    assert first["clip_ratio_low"] == first["clip_ratio_high"] == 0
    assert second["clip_ratio_low"] + second["clip_ratio_high"] > 0
    assert all(row["mean_logp"] < 0 for row in rows_of(tmp_path))


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


def test_a_model_whose_weights_are_not_numbers_is_one_message_at_its_first_token(tmp_path):
    trainer, verifier = small_run("grpo", tmp_path)
    with torch.no_grad():
        trainer.model.get_input_embeddings().weight.fill_(float("nan"))
    with verifier, pytest.raises(RunFailed, match=r"logits are NaN or infinite.*take another model"):
        trainer.train()


def test_a_run_whose_completions_all_hit_the_cap_is_stopped_with_advice(tmp_path):
    trainer, verifier = small_run(
        "grpo",
        tmp_path,
        "trainer.max_completion_length=3",
        "guard.truncated_share=0.9",
        "trainer.max_steps=20",
    )
    with verifier, pytest.raises(RunFailed, match="guard.truncated: .*Completions hit the cap"):
        trainer.train()
    assert trainer.state.global_step < 20
