"""Lengths, truncation flags, caps and advantages of a row, in real rollouts."""

import dataclasses
import json
import math
import shutil
from typing import ClassVar

import pytest
import torch
from transformers import AutoTokenizer

from lenrl.generation.pretrained import TINY
from lenrl.rollouts import RewardResult
from lenrl.strategies.base import Advantage, Budget, PromptBudget
from lenrl.strategies.examples import GROUP
from lenrl.strategies.groups import token_mean
from lenrl.strategies.method import BadStrategy
from lenrl.training.trl_batch import as_wide_as
from lenrl.verify.pool import Claim, Verifier
from lenrl.verify.settings import VerifierSettings
from tests.training.runs import answer, force, lines_of, rows_of, small_run


def sampled(trainer) -> list[list[int]]:
    """Token ids of every completion that the trainer is given, from now on."""
    found: list[list[int]] = []
    original = trainer._calculate_rewards

    def spy(inputs, prompts, completions, ids):
        found.extend(ids)
        return original(inputs, prompts, completions, ids)

    trainer._calculate_rewards = spy
    return found


def test_a_second_eos_ends_a_completion_and_a_pad_that_is_eos_is_no_token_of_it(tmp_path):
    model = tmp_path / "model"
    shutil.copytree(TINY, model)
    tokenizer = AutoTokenizer.from_pretrained(model)
    first, second = tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("Wait")
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(model)
    config = json.loads((model / "generation_config.json").read_text())
    config |= {"eos_token_id": [first, second], "pad_token_id": first}
    (model / "generation_config.json").write_text(json.dumps(config))

    trainer, verifier = small_run(
        "grpo", tmp_path / "run", f"model.path={model}", "trainer.max_completion_length=40"
    )
    assert trainer.processing_class.pad_token_id == first
    ids = sampled(trainer)
    with verifier:
        trainer.train()
    rows = rows_of(tmp_path / "run")
    assert [row["tokens"] for row in rows] == [len(row) for row in ids]
    assert [row["truncated"] for row in rows] == [row[-1] not in (first, second) for row in ids]
    assert all(row[:-1].count(end) == 0 for row in ids for end in (first, second))
    assert any(row[-1] == second for row in ids), "no row ended at the second EOS: the test shows nothing"
    assert any(row["truncated"] for row in rows)
    assert any(len(row) < 40 for row in ids), "no row was padded: the test shows nothing"


@pytest.mark.parametrize("recipe", ["drpo", "grpo_lambda"])
def test_completions_of_the_eos_alone_are_wrong_and_train_finitely(tmp_path, recipe):
    """All of some groups; of the others all but one, which is right; one is white space."""
    trainer, verifier = small_run(recipe, tmp_path)
    force(
        trainer,
        lambda problem, k: (
            ["\n", answer(True, problem, 2)][k] if k < 2 and problem.id[-1] in "02468ace" else ""
        ),
    )
    with verifier:
        trainer.train()
    rows = rows_of(tmp_path)
    empty = [row for row in rows if row["completion"] == ""]
    assert len(empty) >= len(rows) / 2 and {row["tokens"] for row in empty} == {1}
    assert not any(row["verdict"] or row["truncated"] for row in empty) and any(
        row["verdict"] for row in rows
    )
    assert all(math.isfinite(row["advantage"]) for row in rows)
    assert all(
        line["grad_norm"] is not None and math.isfinite(line["grad_norm"]) for line in lines_of(tmp_path)
    )
    assert all(bool(p.isfinite().all()) for p in trainer.model.parameters())


def test_a_template_that_opens_the_think_block_and_speaks_a_system_prompt(tmp_path):
    """As R1-Distill's: the opening tag is the prompt's, so a completion is well-formed without one."""
    model = tmp_path / "model"
    shutil.copytree(TINY, model)
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = tokenizer.chat_template.replace("'<|assistant|>'", "'<|assistant|><think>\\n'")
    assert "<think>" in tokenizer.chat_template
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(model)

    trainer, verifier = small_run(
        "grpo",
        tmp_path / "run",
        f"model.path={model}",
        "task.system_prompt=+",
        "trainer.max_completion_length=120",
        "trainer.temperature=0.6",
    )
    ids = sampled(trainer)
    with verifier:
        trainer.train()
    rows = rows_of(tmp_path / "run")
    text = trainer.processing_class.decode(
        trainer.rollout.problem_set.prompts.ids(
            trainer.rollout.problem_set.problems[rows[0]["prompt_id"]], PromptBudget()
        )
    )
    assert text.startswith("<|system|>+<|im_end|><|user|>") and text.endswith("<|assistant|><think>\n")
    assert [row["tokens"] for row in rows] == [len(row) for row in ids]
    assert [row["truncated"] for row in rows] == [row[-1] != tokenizer.eos_token_id for row in ids]
    closed = [
        row for row in rows if row["completion"].count("</think>") == 1 and "<think>" not in row["completion"]
    ]
    assert any(row["verdict"] for row in closed), "nothing was right: the test shows nothing"
    assert all(row["extracted"] is None for row in rows if "</think>" not in row["completion"])
    claims = [Claim(row["completion"], "0", True) for row in closed]
    with Verifier(VerifierSettings()) as verifier:
        assert all(verdict.think_tags for verdict in verifier.verify(claims))
        assert not any(v.think_tags for v in verifier.verify([Claim(c.text, "0", False) for c in claims]))


class Narrow(Budget):
    """Every second row of a group gets a cap of 5 tokens."""

    name: ClassVar[str] = "narrow"

    def __call__(self, prompt_ids, columns, step, run_info):
        return [PromptBudget(cap=5 if row % 2 else None) for row in range(len(prompt_ids))]


def test_a_row_never_gets_longer_than_its_own_cap(tmp_path):
    trainer, verifier = small_run("grpo", tmp_path)
    trainer.strategies.method = dataclasses.replace(trainer.strategies.method, budget=Narrow())
    ids = sampled(trainer)
    with verifier:
        trainer.train()
    rows = rows_of(tmp_path)
    assert max(len(row) for row in ids[1::2]) == 5 < max(len(row) for row in ids[0::2])
    assert (
        [row["tokens"] for row in rows] == [row["kept_tokens"] for row in rows] == [len(row) for row in ids]
    )
    assert [row["truncated"] for row in rows] == [row[-1] not in trainer.eos_token_ids for row in ids]


class ByToken(Advantage):
    """The second half of the kept tokens is pushed by the reward, the first one is not."""

    name: ClassVar[str] = "by_token"

    def __call__(self, reward, rollouts):
        place = torch.arange(int(rollouts.length_PG.max()) + 3)
        late = place >= rollouts.length_PG[..., None] // 2
        return late.double() * (reward.total_PG[..., None] - 0.5)


def test_advantages_a_token_are_fitted_to_the_batch_and_logged_by_kept_tokens(tmp_path):
    trainer, verifier = small_run("grpo", tmp_path, "trainer.max_completion_length=120")
    trainer.strategies.method = dataclasses.replace(trainer.strategies.method, advantage=ByToken())
    with verifier:
        trainer.train()
    batch = trainer._buffered_inputs[0]
    assert batch["advantages"].shape == batch["completion_ids"].shape
    for row in rows_of(tmp_path):
        share = (row["kept_tokens"] - row["kept_tokens"] // 2) / row["kept_tokens"]
        assert row["advantage"] == pytest.approx(share * (row["reward"] - 0.5))


def test_advantages_a_token_get_the_width_of_the_process():
    ids = torch.zeros(2, 3)
    wide, narrow = torch.ones(2, 5), torch.ones(2, 2)
    assert as_wide_as(ids, wide).tolist() == [[1, 1, 1]] * 2
    assert as_wide_as(ids, narrow).tolist() == [[1, 1, 0]] * 2
    assert as_wide_as(ids, torch.ones(2)).tolist() == [1, 1]


def test_the_mean_over_tokens_leaves_padding_out():
    value = torch.tensor([[[2.0, 4.0, 9.0], [1.0, 1.0, 1.0]]])
    assert token_mean(value, torch.tensor([[2, 0]])).tolist() == [[3.0, 0.0]]


def test_advantages_for_fewer_tokens_than_there_are_are_refused(tmp_path):
    class Short(ByToken):
        name: ClassVar[str] = "short"

        def __call__(self, reward, rollouts):
            return torch.ones(*rollouts.length_PG.shape, 7, dtype=torch.float64)

    from lenrl.config import compose

    method = dataclasses.replace(compose("grpo").method, advantage=Short())
    with pytest.raises(BadStrategy, match="7 tokens a completion, the longest has 4000"):
        method.advantages(RewardResult(GROUP.correct_PG), GROUP)
