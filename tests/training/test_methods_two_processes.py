"""Two processes, groups straddling them, do what one does: gradients, rewards, cuts, figures and states."""

import json

import pytest
import torch

from tests.training.runs import launch, lines_of, rows_of
from tests.training.two_processes import RUNS, checked_run

UNLIKE = {"loss", "grad_norm", "entropy", "useful_token_share", "tokens_per_s"}
"""What depends on padding, or on which rows share a micro-batch (so do the objectives' figures)."""


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """(folder of the launch, what each process found)"""
    out = tmp_path_factory.mktemp("two")
    done = launch("two_processes.py", out)
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = [json.loads((out / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    assert all(found["processes"] == 2 and found["backend"] == "gloo" for found in ranks)
    return out, ranks


def test_our_grpo_advantage_is_trl_s_own_where_groups_straddle_processes(two):
    """G=4 and 6 rows a process: the second group has two rows on each."""
    ranks = [found["grpo"] for found in two[1]]
    for found in ranks:
        assert found["wrapped"] == "DistributedDataParallel"
        ours, theirs = torch.tensor(found["ours"]), torch.tensor(found["theirs"])
        assert ours.shape == (2, 6)
        assert (ours - theirs).abs().max() < 1e-6
    assert ranks[0]["weights"] == ranks[1]["weights"]
    assert any(torch.tensor(found["ours"]).abs().sum() > 0 for found in ranks)


@pytest.mark.parametrize("updates", [1, 2])
def test_drpo_gradient_reduced_over_two_processes_is_the_closed_form_over_all_rows(two, updates):
    for found in (rank["gradients"][updates - 1] for rank in two[1]):
        assert found["wrapped"] == "DistributedDataParallel"
        assert found["difference"] < 1e-5
        assert found["size"] > 0
        assert found["scattered"] > 0 and found["straddling"] > 0
        assert (found["kl"] > 0) == (updates > 1)


@pytest.mark.parametrize("recipe", RUNS)
def test_a_method_gives_what_it_gives_on_one_process(two, tmp_path, recipe):
    out, ranks = two
    state = checked_run(recipe, tmp_path, processes=1)
    assert ranks[0]["states"][recipe] == ranks[1]["states"][recipe] == json.loads(json.dumps(state))
    one, other = rows_of(tmp_path), rows_of(out / recipe)
    assert len(one) == len(other) > 0
    assert any(row["advantage"] != 0 for row in one), "no signal: the test shows nothing"
    for row, twin in zip(one, other, strict=True):
        for name in {"advantage", "mean_logp"} & row.keys():  # the second where something reads log-probs
            assert row.pop(name) == pytest.approx(twin.pop(name), abs=1e-5), name
        assert row == twin
    for line, twin in zip(lines_of(tmp_path), lines_of(out / recipe), strict=True):
        assert line.keys() == twin.keys()
        for name in line.keys() - UNLIKE:
            if not name.startswith(("time_", "kl_cov_", "drpo_kl", "drpo_hinge")):
                assert line[name] == pytest.approx(twin[name], abs=1e-5), name


def test_the_prepared_runs_show_their_methods_at_work(two):
    out, ranks = two
    assert any(row["kept_tokens"] < row["tokens"] for row in rows_of(out / "dot"))
    assert any(row["cap"] < 300 for row in rows_of(out / "palu"))
    assert any(not row["in_update"] for row in rows_of(out / "dler"))
    assert any(row["kept_tokens"] < row["tokens"] for row in rows_of(out / "grpo"))
    assert len({row["reward"] for row in rows_of(out / "grpo")}) > 6, "all completions read alike"
    assert any(line["drpo_mixed_share"] > 0 for line in lines_of(out / "drpo"))
    assert any(ranks[0]["states"]["laser_d"]["reward"]["targets"].values())
