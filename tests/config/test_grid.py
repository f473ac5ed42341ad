"""Hydra's grid grammar, read for sweeps."""

import pytest

from lenrl.config import Axis, compose, group_choices, spread
from lenrl.errors import BadInput
from lenrl.recipe_paths import RECIPES


def values(line: str) -> tuple[str, ...]:
    return spread([line]).axes[0].values


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("reward.alpha=0.1,0.2", ("0.1", "0.2")),
        ("reward.alpha=choice(0.1,0.2)", ("0.1", "0.2")),
        ("seed=range(3)", ("0", "1", "2")),
        ("reward.alpha=range(0,0.3,0.1)", ("0.0", "0.1", "0.2")),
        ("seed=sort(3,1,2)", ("1", "2", "3")),
        ("seed=1,1,2", ("1", "2")),
        ("a.b=[1,2],[3]", ("[1,2]", "[3]")),
        ("task=glob(aime*)", ("aime24", "aime25")),
    ],
)
def test_what_lists_values_is_listed(line, expected):
    assert values(line) == expected


def test_a_shuffled_axis_has_the_same_order_each_time():
    shuffled = values("seed=shuffle(range(20))")
    assert shuffled == values("seed=shuffle(range(20))") != values("seed=range(20)")
    assert sorted(shuffled) == sorted(values("seed=range(20)"))


def test_intervals_know_their_kind():
    assert spread(["x=interval(0,1)"]).axes == (Axis("x", low=0.0, high=1.0),)
    assert spread(["x=tag(log,interval(1e-5,1e-3))"]).axes == (Axis("x", low=1e-5, high=1e-3, log=True),)
    assert spread(["x=int(interval(1,5))"]).axes == (Axis("x", low=1, high=5, whole=True),)
    assert spread(["x=range(3)"]).axes[0].ordered and not spread(["x=1,2"]).axes[0].ordered


def test_settings_axes_and_the_sweeps_own_folder_are_told_apart():
    grid = spread(["seed=1", "name=mine", "a.b=1,2", "output_dir=/somewhere", "x='1,2'"])
    assert grid.fixed == ("seed=1", "x='1,2'")
    assert [axis.key for axis in grid.axes] == ["a.b"]
    assert (grid.name, grid.output_dir) == ("mine", "/somewhere")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["seed=1,2", "seed=3,4"], "swept twice"),
        (["seed=1,2", "seed=3"], "swept too"),
        (["name=a,b"], "one value"),
        (["resume=never"], "resumes its trials by itself"),
        (["hydra.verbose=1,2"], "one experiment"),
        (["seed=range(5,1)"], "no value"),
        (["seed=range(1000000)"], "over 10000"),
        (["x=interval(2,1)"], "goes up"),
        (["x=tag(log,interval(0,1))"], "above 0"),
        (["reward=glob(*)"], "List the values"),
        (["sweep=nothing"], "ready sweeps are"),
        (["x=choice(1"], "can't be read"),
    ],
)
def test_what_can_not_be_swept_is_refused(lines, said):
    with pytest.raises(BadInput, match=said):
        spread(lines)


@pytest.mark.parametrize("name", group_choices("sweep"))
def test_the_ready_sweeps_fit_their_recipe(name):
    recipe = name.split("_")[0] if (RECIPES / f"{name.split('_')[0]}.yaml").exists() else "grpo"
    for axis in spread([f"sweep={name}"]).axes:
        for value in axis.values or (axis.low, axis.high):
            compose(recipe, [f"{axis.key}={value}"])
