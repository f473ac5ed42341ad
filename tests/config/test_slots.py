"""Choosing strategies and setting their options, from files and from the command line."""

import itertools

import pytest

from lenrl.config import compose
from lenrl.errors import BadInput


@pytest.mark.parametrize("choice", ["reward=kimi", "reward.name=kimi", "reward={name: kimi}"])
def test_choosing_a_strategy_drops_the_former_ones_options(choice):
    recipe = compose("lcpo_exact", [choice])  # kimi has no alpha
    assert (recipe.reward.name, recipe.reward.weight) == ("kimi", 1.0)


def test_overrides_mean_the_same_in_any_order():
    lines = ["reward.weight=0.4", "reward=kimi", "trainer.max_steps=9", "advantage=rloo"]
    found = {compose("efficient", order).digest() for order in itertools.permutations(lines)}
    assert len(found) == 1
    assert compose("efficient", lines).reward.weight == 0.4


def test_an_option_no_file_spells_out_can_be_set():
    assert compose("kimi", ["reward.weight=0.25"]).reward.weight == 0.25
    assert compose("kimi", ["reward={weight: 0.5}"]).reward.weight == 0.5


def test_a_files_choice_drops_the_options_of_the_recipe_it_builds_on(tmp_path):
    one = tmp_path / "one.yaml"
    one.write_text("defaults: [grpo, _self_]\nreward: {name: efficient, alpha: 0.4}\n")
    two = tmp_path / "two.yaml"
    two.write_text("defaults: [one, _self_]\nreward: {name: kimi, weight: 0.5}\n")
    three = tmp_path / "three.yaml"
    three.write_text("defaults: [one, _self_]\nreward: {alpha: 0.3}\n")
    assert compose(str(two)).reward.weight == 0.5
    assert (compose(str(three)).reward.name, compose(str(three)).reward.alpha) == ("efficient", 0.3)


def test_a_file_may_name_a_strategy_alone(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("defaults: [grpo, _self_]\nreward: kimi\n")
    assert compose(str(mine)).reward.name == "kimi"


def test_the_option_of_a_strategy_that_is_not_selected_is_refused():
    with pytest.raises(BadInput, match="alpha.*'kimi'.*weight"):
        compose("kimi", ["reward.alpha=0.1"])


def test_nested_options_can_be_set():
    recipe = compose("weighted", ["reward.parts.1.weight=0.75"])
    assert [part["weight"] for part in recipe.resolved()["reward"]["parts"]] == [1.0, 0.75]


def test_an_option_may_refer_to_another_key():
    recipe = compose(
        "dler", ["reward.cap=${trainer.max_completion_length}", "trainer.max_completion_length=99"]
    )
    assert recipe.reward.cap == 99


def test_two_choices_for_one_slot_are_refused():
    with pytest.raises(BadInput, match="chosen twice"):
        compose("grpo", ["reward=kimi", "reward.name=efficient"])


def test_a_plugin_gives_a_strategy_and_a_recipe_can_not(tmp_path):
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "from lenrl.strategies.base import Reward\n\n\n"
        "class Mine(Reward):\n"
        '    """Pays the verdict."""\n\n'
        '    name = "mine_of_this_test"\n\n'
        "    def __call__(self, rollouts):\n"
        "        return rollouts.correct_PG\n"
    )
    with pytest.raises(BadInput, match="mine_of_this_test"):
        compose("grpo", ["reward=mine_of_this_test"])
    recipe = compose("grpo", ["reward=mine_of_this_test"], [plugin])
    assert recipe.reward.name == "mine_of_this_test"
