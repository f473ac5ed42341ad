"""Every shipped recipe composes, passes its checks and trains."""

import json
import re
from pathlib import Path

import pytest

from lenrl.config import compose, recipe_files
from lenrl.training.build import build
from lenrl.training.grpo_config import grpo_config
from lenrl.training.prepare import prepare
from tests.training.runs import METRICS, lines_of, rows_of

SMALL = [
    "task.train=64",
    "task.dev=4",
    "trainer.per_device_train_batch_size=16",
    "trainer.max_steps=2",
    "trainer.warmup_steps=0",  # else the first step has a learning rate of 0
    "trainer.save_steps=0",
    "trainer.eval_steps=0",
    "verifier.kind=exact",  # whole numbers: no worker has to start
]
NAMES = sorted(
    name for name in recipe_files() if "/" not in name and name != "base"
)  # recipes/paper/ needs GPUs and the hub
BUDGET = {"budget_mean", "budget_within_share"}
CUT = {"cut_completions", "cut_tokens", "cut_broken_share"}
SAMPLING = {"sampling_factor", "prompts_sampled", "prompts_kept", "prompts_filled"}
FIGURES = {
    "curriculum": BUDGET,
    "thinkprune": BUDGET | CUT,
    "palu": {"palu_at_max_share", "palu_switches", *BUDGET, *CUT},
    "dot": {"dot_eligible_share", "kl_cov_share", "kl_cov_idle", *CUT, *SAMPLING},
    "dler": SAMPLING,
    "laser_d": {"laser_target_easy", "laser_target_medium", "laser_target_hard"},
    "grpo_lambda": {"grpo_lambda_selected_share", "grpo_lambda_selected_accuracy"},
    "gfpo": {"gfpo_kept_correct_share"},
    "leash": {"leash_lam", "leash_excess", "leash_over_share"},
    "laconic": {"laconic_lam", "laconic_capped_share"},
    "acoer": {"acoer_alpha", "acoer_budget"},
    "hapo": {"hapo_guess_share"},
    "toggle": {"toggle_limits", "toggle_budget"},
    "short_rl": {"short_rl_open", "short_rl_best"},
    "zmad": {"zmad_outlier_share"},
    "effort": {"effort_reference"},
    "lead_dynamic": {"lead_target", "lead_weight"},
    "pass_rate_band": {"band_share", "prompts_in_pass"},
    "easy_first": {"prompts_in_pass"},
    "crisp": {"crisp_kl", "crisp_untaught_share"},
    "sas": {"sas_steps", "sas_masked_share"},
    "mode_margin": {"mode_margin", "mode_short_share"},
    "drpo": {"drpo_mixed_share", "drpo_kl", "drpo_hinge"},
}
TABLE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
DOCUMENTED = {
    name
    for row in TABLE.splitlines()
    if row.startswith("|")
    for name in re.findall(r"`(\w+)`", row.split("|")[1])
}


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_trains_two_steps(name, tmp_path):
    checked_run = prepare(compose(name, SMALL))
    trainer, verifier = build(checked_run, grpo_config(checked_run, tmp_path))
    before = [p.detach().clone() for p in trainer.model.parameters()]
    with verifier:
        trainer.train()
    lines = lines_of(tmp_path)
    assert [line["step"] for line in lines] == [1, 2]
    for line in lines:
        names = {key for key in line if not key.startswith(("reward_", "guard_"))}
        assert METRICS | FIGURES.get(name, set()) <= names <= DOCUMENTED
        json.dumps(line, allow_nan=False)
    assert all(line["grad_norm"] is not None and line["grad_norm"] >= 0 for line in lines)
    if name == "adapt_think":
        for row in rows_of(tmp_path):
            assert row["completion"].startswith("<think>\n</think>") == (row["mode"] == "short"), row
            assert row["completion"].startswith("<think>\n") and row["tokens"] <= 180
    moved = any(not (a == b).all() for a, b in zip(before, trainer.model.parameters(), strict=True))
    assert moved == any(line["groups_with_signal"] for line in lines)
