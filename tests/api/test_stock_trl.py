"""`lenrl.trl.reward_func`: by values against `lenrl.score`, in stock TRL, and what it refuses."""

import json
import logging
import re
from types import SimpleNamespace

import pytest
from transformers import AutoModelForCausalLM
from trl import GRPOTrainer

import lenrl
from lenrl.errors import BadInput
from lenrl.generation.pretrained import ModelOptions, find, load_tokenizer_info
from lenrl.trl import reward_func
from tests.api.data import config, rows

LENGTHS = [5, 9, 12, 30, 4, 6, 8, 10]
RIGHT = [True, True, False, True, True, False, False, False]
PROMPTS = ["a"] * 4 + ["b"] * 4


def batch(**more):
    """Two groups of four texts, right by RIGHT, as TRL hands them over."""
    texts = [rf"so \boxed{{{7 if right else 8}}}" for right in RIGHT]
    given = {
        "prompts": PROMPTS,
        "completions": texts,
        "completion_ids": [list(range(n)) for n in LENGTHS],
        "answer": ["7"] * 8,
        "trainer_state": SimpleNamespace(global_step=3),
    }
    return {**given, **more}


def paid(method, *, max_length=64, settings=None, **more):
    function = reward_func(method, max_length=max_length, verifier="exact", **(settings or {}))
    try:
        return function(**batch(**more))
    finally:
        function.close()


def scored(method, **options):
    lines = [
        {"prompt": p, "length": n, "correct": right}
        for p, n, right in zip(PROMPTS, LENGTHS, RIGHT, strict=True)
    ]
    return [row["reward"] for row in lenrl.score(method, lines, max_length=64, **options)]


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("grpo_lambda", {"alpha": 0.3}),
        ("kimi", {}),
        ("length_penalty", {}),
        ({"reward": "efficient"}, {"alpha": 0.2}),
    ],
    ids=str,
)
def test_rewards_are_those_of_score(method, options):
    rewards = paid(method, settings=options)
    assert rewards == pytest.approx(scored(method, **options))
    assert len(set(rewards)) > 2


def test_messages_another_column_and_its_numbers_are_read():
    said = [[{"role": "assistant", "content": text}] for text in batch()["completions"]]
    asked = [[{"role": "user", "content": prompt}] for prompt in PROMPTS]
    given = {"prompts": asked, "completions": said, "answer": None, "gold": [7] * 8}
    del (left := batch(**given))["answer"]
    function = reward_func("grpo_lambda", answer="gold", max_length=64)
    assert function(**left) == pytest.approx(scored("grpo_lambda"))
    function.close()
    assert function.__name__ == "grpo_lambda"


def test_a_verifier_of_one_s_own_reads_prompt_and_columns_and_needs_no_answers(tmp_path):
    file = tmp_path / "asked_of_this_test.py"
    file.write_text(
        "from lenrl.verify.base import VerifierPlugin\n\n\n"
        "class Asked(VerifierPlugin):\n    name = 'asked_of_this_test'\n"
        "    reads_columns = ('prompt', 'unit')\n    needs_gold = False\n\n"
        "    def judge(self, text, answer, gold, columns):\n"
        "        return columns == {'prompt': 'a', 'unit': 'm'}\n"
    )
    given = batch(unit=["m", "s", *["m"] * 6])
    del given["answer"]
    function = reward_func("grpo", max_length=64, verifier="asked_of_this_test", plugins=[file])
    assert function(**given) == [1, 0, 1, 1, 0, 0, 0, 0]
    del given["unit"]
    with pytest.raises(BadInput, match="reads the column 'unit'"):
        reward_func("grpo", max_length=64, verifier="asked_of_this_test")(**given)
    function.close()


def test_an_unknown_verdict_is_none():
    assert paid("kimi", answer=[None, *["7"] * 7])[0] is None


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("drpo", "advantage 'drpo'"),
        ("dot", "truncation 'dot'"),
        ("efficient", "advantage 'rloo'.*reward_func.*'name': 'efficient'"),
        ("lcpo_exact", "budget 'draw'"),
        ("laser_d", "saves no state"),
        ({"reward": "process"}, "process"),
    ],
    ids=str,
)
def test_what_lies_in_another_slot_is_refused(method, said):
    with pytest.raises(BadInput, match=said):
        reward_func(method)


def test_groups_that_are_not_whole_are_refused():
    with pytest.raises(BadInput, match=r"number \[3, 5\].*whole groups.*LenrlTrainer"):
        paid("kimi", prompts=["a"] * 3 + ["b"] * 5)
    with pytest.raises(BadInput, match="at least 2"):
        paid("kimi", prompts=list("abcdefgh"))


def test_data_without_answers_and_an_unknown_length_are_refused():
    given = batch()
    del given["answer"]
    function = reward_func("kimi", max_length=64)
    with pytest.raises(BadInput, match="no column 'answer' or 'solution'.*answer='COLUMN'"):
        function(**given)
    with pytest.raises(BadInput, match="max_length"):
        reward_func("kimi")(**batch())


class Trainer:
    """What a reward function may ask of TRL's trainer."""

    def __init__(self, processes=1, size=4, **fields):
        self.args = SimpleNamespace(scale_rewards="group", **fields)
        self.num_generations, self.num_generations_eval = size, 2
        self.max_completion_length, self.eos_token_ids = 64, [0]
        self.accelerator = SimpleNamespace(num_processes=processes)
        self.model = SimpleNamespace(training=True)
        self.processing_class = None

    def log_metric(self, name, value):
        self.logged = {name: value}


def test_in_several_processes_half_groups_and_rankings_are_refused():
    with pytest.raises(BadInput, match="whole batch"):
        paid("grpo_lambda", log_metric=Trainer(processes=2).log_metric)
    parts = {"reward": {"name": "weighted", "parts": [{"name": "grpo_lambda", "weight": 1.0}]}}
    with pytest.raises(BadInput, match="whole batch"):
        paid(parts, log_metric=Trainer(processes=2).log_metric)
    with pytest.raises(BadInput, match=r"8 completions a prompt.*number \[4, 4\]"):
        paid("kimi", log_metric=Trainer(processes=2, size=8).log_metric)
    assert paid("kimi", log_metric=Trainer(processes=2).log_metric) == pytest.approx(scored("kimi"))


def test_groups_of_one_prompt_side_by_side_are_told_apart_by_the_trainer():
    trainer = Trainer()
    assert paid("kimi", prompts=["a"] * 8, log_metric=trainer.log_metric) == pytest.approx(scored("kimi"))
    assert trainer.logged == {"accuracy": 0.5}


def test_settings_that_defeat_a_reward_are_refused_and_those_that_blunt_it_warned_of(caplog):
    masked = Trainer(mask_truncated_completions=True)
    with pytest.raises(BadInput, match="args.mask_truncated_completions=True"):
        paid("surrogate", log_metric=masked.log_metric)
    with caplog.at_level(logging.WARNING, "lenrl"):
        paid("grpo_lambda", settings={"alpha": 0.0})
    assert "plain 0/1" in caplog.text


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    """Two steps of TRL's own trainer with a method's reward: its log, and each call with what came back."""
    folder = tmp_path_factory.mktemp("stock")
    tokenizer = load_tokenizer_info("tiny", ModelOptions()).tokenizer
    function = reward_func("grpo_lambda", alpha=0.3, fraction=1.0)
    calls = []

    def watched(**given):
        calls.append((given, function(**given)))
        return calls[-1][1]

    watched.__name__ = function.__name__
    fields = {"max_steps": 2, "logging_steps": 1, "save_strategy": "no"}
    model = AutoModelForCausalLM.from_pretrained(find("tiny"))
    trainer = GRPOTrainer(model, watched, config(folder, **fields), rows(), processing_class=tokenizer)
    trainer.train()
    function.close()
    return trainer.state.log_history, calls


def test_stock_trl_trains_on_it(stock):
    log, calls = stock
    assert len(calls) == 2
    for entry, (given, rewards) in zip(log, calls, strict=False):
        assert entry["rewards/grpo_lambda/mean"] == pytest.approx(sum(rewards) / len(rewards), abs=1e-5)
        boxed = [re.findall(r"boxed\{(.*?)\}", said[0]["content"]) for said in given["completions"]]
        right = [
            bool(found) and found[-1] == gold for found, gold in zip(boxed, given["answer"], strict=True)
        ]
        assert entry["accuracy"] == pytest.approx(sum(right) / len(right))
        lines = [
            {"prompt": json.dumps(p), "length": len(ids), "correct": ok}
            for p, ids, ok in zip(given["prompts"], given["completion_ids"], right, strict=True)
        ]
        wanted = lenrl.score("grpo_lambda", lines, max_length=64, alpha=0.3, fraction=1.0)
        assert rewards == pytest.approx([row["reward"] for row in wanted])
    assert any(0 < reward < 1 for _, rewards in calls for reward in rewards)
