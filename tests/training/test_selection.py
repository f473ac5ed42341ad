"""Sampling more prompts than an update takes, and keeping the groups that teach something."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import pyarrow.parquet as pq
import pytest
import torch

from lenrl.config import compose
from lenrl.strategies.faults import BadStrategy
from lenrl.strategies.sampling.easy_first import EasyFirst
from lenrl.training.selection import PromptCursor, filled, prompts_to_sample, relayout
from lenrl.training.trl_batch import cut
from tests.training.runs import small_run

TEN = {f"q{i}": {} for i in range(10)}


def test_the_cursor_passes_over_all_prompts_in_an_order_that_its_position_decides():
    cursor = PromptCursor(TEN, seed=3)
    first, second = cursor.take(10), cursor.take(10)
    assert sorted(first) == sorted(second) == sorted(TEN)
    assert first != second
    resumed = PromptCursor(TEN, seed=3)
    resumed.load_state_dict(7)
    assert resumed.take(9) == (first + second)[7:16]


def test_a_choice_holds_for_the_whole_pass_and_through_a_checkpoint():
    """What is chosen for the second pass depends on a state that has changed when the run goes on."""

    def chosen(least: int) -> Callable:
        return lambda problems, turn: [name for name in problems if not turn or int(name[1:]) >= least]

    cursor = PromptCursor(TEN, seed=3, choose=chosen(5))
    plain = PromptCursor(TEN, seed=3)
    first, second = cursor.take(10), cursor.take(3)
    assert first == plain.take(10) and (cursor.position, cursor.in_pass) == (13, 5)
    assert [*second, *cursor.take(2)] == [name for name in plain.take(10) if int(name[1:]) >= 5]
    state = cursor.state_dict()
    rest = cursor.take(9)
    resumed = PromptCursor(TEN, seed=3, choose=chosen(9))
    resumed.load_state_dict(json.loads(json.dumps(state)))
    assert resumed.take(2) == ["q9", "q9"], "the third pass is chosen anew"
    assert len(rest) == 9
    cursor.load_state_dict({**state, "ahead": ["q1", "gone", "q2"]})
    assert cursor.take(2) == ["q1", "q2"], "a prompt that the data has no more is left out"


def test_a_changed_recipe_goes_on_from_the_other_kind_of_cursor():
    chooses = PromptCursor(TEN, seed=3, choose=lambda problems, turn: list(problems))
    plain = PromptCursor(TEN, seed=3)
    expected = plain.take(20)
    chooses.load_state_dict(7)
    assert chooses.take(8) == expected[7:15]
    plain.load_state_dict(chooses.state_dict())
    assert plain.position == 15 and plain.take(5) == expected[15:]


class Strangers(EasyFirst):
    name: ClassVar[str] = "strangers"

    def choose(self, prompt_ids, columns, turn):
        columns[0]["of"] = "mine"
        return ["nobody's"] if turn else []


def test_a_choice_of_no_prompt_or_of_a_stranger_is_refused():
    method = replace(compose("grpo").method, sampling=Strangers())
    problems = {"q0": {"of": "ours"}}
    with pytest.raises(BadStrategy, match="chose no prompt of 1 in pass 1"):
        method.choose(problems, 0)
    with pytest.raises(BadStrategy, match='chose "nobody\'s", which is no prompt of 1 in pass 2'):
        method.choose(problems, 1)
    assert problems == {"q0": {"of": "ours"}}


class Two:
    """The first of two processes; the other one has the same rows and two columns more."""

    processes, device = 2, torch.device("cpu")

    def local_slice(self, count: int) -> slice:
        return slice(0, count)

    def gather_padded(self, value: torch.Tensor, pad: int, left: bool) -> torch.Tensor:
        wide = torch.nn.functional.pad(value, (2, 0) if left else (0, 2), value=pad)
        return torch.cat([wide, wide])


def test_a_ratio_of_vllm_is_padded_with_one_as_by_trl():
    """TRL's `vespo` sums its log over all columns: 0 would be the least log there is."""
    ratio_NT = torch.tensor([[1.5, 0.5], [2.0, 1.0]])
    batch = {"importance_sampling_ratio": ratio_NT, "completion_mask": torch.ones(2, 2)}
    laid = relayout(batch, [0, 1, 2, 3], 4, Two(), pad_id=9)
    assert torch.equal(laid["importance_sampling_ratio"].log().sum(1), ratio_NT.log().sum(1))
    assert laid["completion_mask"].tolist() == [[1, 1, 0, 0]] * 2
    ids = {"completion_ids": torch.ones(2, 2, dtype=torch.long), "completion_mask": torch.ones(2, 2)}
    after = cut({**ids, "importance_sampling_ratio": ratio_NT}, torch.tensor([1, 2]), pad_id=9)
    assert after["importance_sampling_ratio"].tolist() == [[1.5, 1.0], [2.0, 1.0]]
    whole_N1 = torch.tensor([[0.7], [0.8]])
    assert (
        cut({**ids, "importance_sampling_ratio": whole_N1}, torch.tensor([1, 2]), 9)[
            "importance_sampling_ratio"
        ]
        is whole_N1
    )


@pytest.mark.parametrize(
    ("factor", "processes", "expected"), [(1.0, 1, 16), (1.5, 1, 24), (1.45, 3, 24), (5, 2, 80)]
)
def test_prompts_to_sample(factor, processes, expected):
    assert prompts_to_sample(16, factor, 8, processes) == expected


def test_filled_keeps_batch_order():
    assert filled([], 3, 2) == [0, 1]
    assert filled([2, 4], 5, 3) == [0, 2, 4]
    assert filled([0, 1], 5, 2) == [0, 1]


def test_predictive_sampling_trains_on_the_first_informative_groups(tmp_path):
    trainer, verifier = small_run(
        "base", tmp_path, "sampling=predictive", "trainer.max_completion_length=120"
    )
    with verifier:
        trainer.train()
    first = pq.read_table(tmp_path / "completions" / "step000001-0.parquet").to_pylist()
    assert len(first) == 6 * 4, "4 prompts times the initial factor 1.5, 4 completions each"
    groups = [first[i : i + 4] for i in range(0, len(first), 4)]
    differing = [len({row["reward"] for row in group}) > 1 for group in groups]
    used = [group[0]["in_update"] for group in groups]
    expected = [d and sum(differing[:i]) < 4 for i, d in enumerate(differing)]
    assert used == expected
    assert any(used), "no informative group: the test shows nothing"
    lines = [json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert all(1.2 <= line["sampling_factor"] <= 5 for line in lines)
    assert trainer.cursor.position >= 6 + 4


def test_rows_of_dropped_groups_count_in_no_normaliser(tmp_path):
    """The gradient is that of the informative groups alone."""
    trainer, verifier = small_run(
        "base",
        tmp_path,
        "sampling=drop_flat",
        "trainer.loss_type=grpo",
        "trainer.max_steps=1",
        "trainer.max_grad_norm=0",
        "trainer.per_device_train_batch_size=64",
        "trainer.max_completion_length=120",
    )
    found = {}
    from transformers import TrainerCallback

    class Capture(TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, **kwargs):
            found["ours"] = {n: p.grad.clone() for n, p in trainer.model.named_parameters()}
            batch = trainer._buffered_inputs[0]
            keep = batch["row_weight"].bool()
            found["dropped"] = int((~keep).sum())
            ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)[keep]
            attention = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)[keep]
            width = batch["completion_ids"].size(1)
            trainer.model.zero_grad()
            logits = trainer.model(input_ids=ids, attention_mask=attention).logits[:, -width - 1 : -1]
            logp = logits.log_softmax(-1).gather(-1, batch["completion_ids"][keep][..., None])[..., 0]
            mask = batch["completion_mask"][keep]
            ratio = (logp - logp.detach()).exp() * batch["advantages"][keep][:, None]
            (-(ratio * mask).sum(-1) / mask.sum(-1)).mean().backward()
            found["expected"] = {n: p.grad.clone() for n, p in trainer.model.named_parameters()}

    trainer.add_callback(Capture())
    with verifier:
        trainer.train()
    assert found["dropped"] > 0, "every group was informative: the test shows nothing"
    for name, expected in found["expected"].items():
        assert torch.allclose(found["ours"][name], expected, atol=1e-6, rtol=1e-3), name


def test_a_step_without_an_informative_group_moves_nothing_but_the_counter(tmp_path):
    """All completions are cut after 3 tokens, so all are wrong; momentum of earlier steps must not act either."""
    trainer, verifier = small_run(
        "base",
        tmp_path,
        "sampling=drop_flat",
        "trainer.max_completion_length=120",
        "trainer.max_steps=3",
        "trainer.learning_rate=0.01",
        "trainer.warmup_steps=0",
    )
    before = [p.detach().clone() for p in trainer.model.parameters()]
    weights = []
    from transformers import TrainerCallback

    class Watchdog(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            weights.append([p.detach().clone() for p in trainer.model.parameters()])
            trainer.rollout.run_info = replace(trainer.rollout.run_info, max_length=3)

    trainer.add_callback(Watchdog())
    with verifier:
        trainer.train()
    assert trainer.state.global_step == 3
    moved = any(not torch.equal(a, b) for a, b in zip(before, weights[0], strict=True))
    assert moved, "the first step made no momentum: the test shows nothing"
    assert all(torch.equal(a, b) for a, b in zip(weights[0], weights[1], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(weights[1], weights[2], strict=True))
