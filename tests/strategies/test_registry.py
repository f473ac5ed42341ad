"""Names, options, plug-in files, entry points."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from lenrl import plugins
from lenrl.errors import BadInput
from lenrl.rollouts import RewardResult
from lenrl.strategies import registry
from lenrl.strategies.base import Advantage
from lenrl.strategies.examples import GROUP, show

PLUGIN = """
from typing import ClassVar
from pydantic import Field
from torch import Tensor
from lenrl.rollouts import Rollouts
from lenrl.strategies.base import Reward

class Twice(Reward):
    name: ClassVar[str] = "{name}"
    factor: float = Field(default=2.0, ge=0)
    def __call__(self, rollouts: Rollouts) -> Tensor:
        return self.factor * rollouts.correct_PG
"""


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "kimmi"}, "Did you mean reward=kimi"),
        ({"name": "os.system"}, "never a path to code"),
        ({"name": None}, "name is missing"),
        ({"name": ["kimi"]}, "is unknown"),
        ({"name": "kimi", "wieght": 1}, r"reward.wieght.*Did you mean reward.weight"),
        ({"name": "kimi", "weight": -0.5}, r"reward.weight=-0.5.*greater than or equal to 0"),
        ({"name": "laser", "target": 0}, r"reward.target=0"),
        ({"name": "lcpo_exact", "alpha": float("nan")}, "finite"),
        ({"name": "surrogate", "shape": "polyline", "peak": 0.4}, "peak=0.4"),
        ({"name": "weighted", "parts": [{"name": "kimmi"}]}, "Did you mean reward=kimi"),
        ({"name": "weighted", "parts": [{"name": "kimi", "weight": -1}]}, "at least 0"),
        ({"name": "weighted", "parts": []}, "at least 1 item"),
    ],
)
def test_bad_specs(spec: dict, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        registry.build("reward", spec)


def test_all_bad_options_are_named_at_once() -> None:
    with pytest.raises(BadInput, match=r"budget.decay=2.*\nbudget.interval=0"):
        registry.build("budget", {"name": "curriculum", "decay": 2, "interval": 0})


def test_a_curriculum_that_rises_is_refused() -> None:
    with pytest.raises(BadInput, match="end=300 is above start=256"):
        registry.build("budget", {"name": "curriculum", "end": 300})


def test_a_plugin_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN.format(name="twice"))
    with pytest.raises(BadInput, match="is unknown"):
        registry.build("reward", {"name": "twice"})
    (kind,) = registry.load_plugin(file)
    assert registry.load_plugin(file) == [kind], "imported once"
    assert registry.available("reward")["twice"] is kind
    rule = registry.build("reward", {"name": "twice", "factor": 3})
    assert show(rule(GROUP)) == [[3.0, 3.0, 0.0, 3.0]]  # type: ignore[operator]
    plugins._files.clear()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "no strategy, task or verifier"),
        ("1 / 0", "ZeroDivisionError"),
        (PLUGIN.format(name="kimi"), "exists already"),
    ],
)
def test_bad_plugins(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "bad.py"
    file.write_text(text)
    with pytest.raises(BadInput, match=message):
        registry.load_plugin(file)
    with pytest.raises(BadInput, match="no such file"):
        registry.load_plugin(tmp_path / "none.py")


class Same(Advantage):
    """An installed advantage."""

    name = "same"

    def __call__(self, reward: RewardResult, rollouts):
        return reward.total_PG


def test_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    points = {
        "lenrl.advantages": [
            EntryPoint("same", f"{__name__}:Same", "lenrl.advantages"),
            EntryPoint("broken", "no_such_module:Thing", "lenrl.advantages"),
        ]
    }
    monkeypatch.setattr(plugins, "entry_points", lambda group: points.get(group, []))
    monkeypatch.setattr(
        EntryPoint, "load", lambda self: Same if self.name == "same" else __import__("no_such_module")
    )
    assert isinstance(registry.build("advantage", {"name": "same"}), Same)
    with pytest.raises(BadInput, match=r"broken.*cannot be loaded.*uninstall"):
        registry.build("advantage", {"name": "broken"})


def test_weighted_forbids_what_its_parts_forbid() -> None:
    parts = [{"name": "correctness"}, {"name": "surrogate"}]
    [entry] = registry.build("reward", {"name": "weighted", "parts": parts}).forbids
    assert (entry.field, entry.value) == ("mask_truncated_completions", True)
    assert registry.build("reward", {"name": "weighted"}).forbids == ()


def test_weighted_keeps_the_options_of_its_parts() -> None:
    parts = [{"name": "correctness"}, {"name": "kimi", "weight": 0.5}, {"name": "kimi", "weight": 0.25}]
    rule = registry.build("reward", {"name": "weighted", "parts": parts})
    reward = rule(GROUP)  # type: ignore[operator]
    assert list(reward.parts) == ["correctness", "kimi", "kimi_2"]
    kimi = [1.5, 7 / 6, -1 / 6, 0.5]
    assert reward.total_PG[0].tolist() == pytest.approx(
        [c + 0.75 * k for c, k in zip([1, 1, 0, 1], kimi, strict=True)]
    )
    gated = registry.build("reward", {"name": "weighted", "parts": parts, "gated": True})
    assert gated(GROUP).total_PG[0, 2] == 0  # type: ignore[operator]
    deep = registry.build("reward", {"name": "weighted", "parts": [{"name": "overlong", "cache": 96}]})
    assert registry.spec(deep)["parts"][0]["cache"] == 96
    assert deep(GROUP).total_PG[0, 3].item() == 1.0  # type: ignore[operator]
