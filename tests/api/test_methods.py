"""A method by name, by slots, and with options."""

import pytest

from lenrl.api import leg
from lenrl.api.methods import read
from lenrl.config import compose
from lenrl.errors import BadInput, RunFailed


def test_a_name_slots_or_nothing():
    assert read(None).method.reward.name == "correctness"
    assert read("kimi").method.reward.name == "kimi"
    named = read({"reward": {"name": "kimi", "weight": 0.4}, "advantage": "dr_grpo"})
    assert (named.method.reward.weight, named.method.advantage.name) == (0.4, "dr_grpo")
    assert read(named.method).method is named.method


def test_a_recipe_tells_which_fields_of_trl_it_sets():
    assert read("dler").trainer["epsilon_high"] == 0.28


def test_an_option_finds_its_slot():
    assert read("grpo_lambda", alpha=0.3).method.reward.alpha == 0.3
    assert read("drpo", lam=0.2).method.advantage.lam == 0.2


@pytest.mark.parametrize(
    ("given", "options", "said"),
    [
        ("grpo_lamda", {}, "grpo_lambda"),
        ({"rewards": "kimi"}, {}, "'rewards' is no slot.*Did you mean reward"),
        ({"reward": "kimmi"}, {}, "kimi"),
        (7, {}, "method=7"),
        ("grpo_lambda", {"alhpa": 0.3}, "Did you mean alpha"),
        ("grpo_lambda", {"alpha": -1.0}, "alpha"),
    ],
)
def test_what_is_unknown_is_refused(given, options, said):
    with pytest.raises(BadInput, match=said):
        read(given, **options)


def test_a_recipe_s_copy_has_the_method_of_its_own_slots():
    recipe = compose("grpo")
    other = recipe.model_copy(update={"reward": compose("kimi").reward})
    assert (recipe.method.reward.name, other.method.reward.name) == ("correctness", "kimi")
    assert recipe.method.reward is recipe.method.reward, "its state is one"


def test_whatever_the_main_process_raises_ends_the_others(monkeypatch):
    sent = []
    monkeypatch.setattr(leg, "broadcast_object_list", lambda values: sent.append(values) or values)

    def fails():
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        leg.on_main(True, fails)
    monkeypatch.setattr(leg, "broadcast_object_list", lambda values: sent[0])
    with pytest.raises(RunFailed, match="the main process raised OSError: no space left"):
        leg.on_main(False, fails)
