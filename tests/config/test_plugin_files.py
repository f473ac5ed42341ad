"""Plug-in files: what is refused with file and line, what a recipe notes of them, and the copies in folders."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from lenrl import plugins, siblings, tasks
from lenrl.cli import main
from lenrl.cli.ls import listing
from lenrl.config import compose, plugin_files
from lenrl.errors import BadInput
from lenrl.launch.command import command
from lenrl.launch.run_folder import RunFolder
from lenrl.report.card import model_card
from lenrl.strategies.examples import GROUP
from lenrl.sweeps.plan import Plan
from lenrl.training.prepare import prepare
from lenrl.verify.pool import Claim, Verifier
from lenrl.verify.settings import VerifierSettings

KINDS = '''
from lenrl.rollouts import Rollouts
from lenrl.strategies.base import Reward
from lenrl.tasks.base import Task
from lenrl.tasks.problem import Problem
from lenrl.verify.base import VerifierPlugin


class Sums(Task):
    """Sums of two digits."""

    VERIFIER = "digits_k"
    name: str = "sums_k"
    largest: int = 9

    def problems(self, split, count=None):
        count = self.count(split) if count is None else count
        pairs = [(a, b) for a in range(1, self.largest) for b in range(1, self.largest)]
        return [Problem(f"{split}{a}+{b}", f"{a}+{b}", str(a + b), columns={"a": a}) for a, b in pairs[:count]]


class Digits(VerifierPlugin):
    """Right where all digits of the gold answer are in the text."""

    name = "digits_k"

    def judge(self, text, answer, gold, columns):
        return sum(digit in text for digit in gold) / len(gold)


class Shape(Reward):
    """Half of the verdict."""

    name = "shape_k"

    def __call__(self, rollouts: Rollouts):
        return 0.5 * rollouts.correct_PG


def brevity_k(completions, **columns):
    """Short is good."""
    return [1 / (1 + len(text)) for text in completions]
'''


@pytest.fixture(autouse=True)
def forgotten():
    """Plug-ins are of one test only."""
    before = dict(plugins._files)
    yield
    plugins._files.clear()
    plugins._files.update(before)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "kinds.py"
    path.write_text(KINDS)
    return path


def test_one_file_brings_all_four_kinds(file):
    recipe = compose(
        "grpo",
        ["task=sums_k", "task.largest=5", "reward=shape_k", "reward_functions.brevity_k=0.25"],
        [file],
    )
    checked_run = prepare(recipe)
    assert checked_run.verifier.kind == "digits_k"
    assert checked_run.task.problems("train", 2)[1].answer == "3"
    [function] = recipe.method.functions
    assert (function.name, function.weight, function.verdict) == ("brevity_k", 0.25, False)
    assert recipe.method.reward(GROUP)[0, 0] == 0.5  # type: ignore[index]
    assert recipe.resolved()["reward_functions"] == {"brevity_k": {"weight": 0.25, "verdict": False}}


def test_they_are_listed(file):
    names = listing([file])
    assert names["task"]["sums_k"] == "Sums of two digits." and "chain" in names["task"]
    assert names["verifier"]["digits_k"].startswith("Right where") and "math" in names["verifier"]
    assert names["reward_function"]["brevity_k"] == "Short is good."
    assert listing([file], "reward")["reward"]["shape_k"] == "Half of the verdict."


def test_a_recipe_notes_the_hash_and_one_without_plugins_is_what_it_was(file):
    plain = compose("grpo")
    assert not {"plugins", "reward_functions"} & plain.identity().keys()
    noted = compose("grpo", ["reward=shape_k"], [file])
    assert list(noted.identity()["plugins"]) == ["kinds.py"]
    file.write_text(KINDS.replace("0.5 *", "0.6 *"))
    edited = compose("grpo", ["reward=shape_k"], [file])
    assert edited.digest() != noted.digest()
    assert edited.method.reward(GROUP)[0, 0] == 0.6  # type: ignore[index]


def begun(file, tmp_path, *overrides):
    lines = ["reward=shape_k", f"output_dir={tmp_path / 'run'}", *overrides]
    return RunFolder(compose("grpo", lines, [file] if file else []))


def test_a_run_keeps_copies_that_its_processes_read(file, tmp_path):
    run = begun(file, tmp_path)
    with run.locked():
        run.prepare()
    file.write_text("1 / 0")
    assert (run.path / "plugins" / "kinds.py").read_text() == KINDS
    assert "--plugin" not in command(run.path)
    plugins._files.clear()
    assert compose(str(run.path)).resolved() == run.recipe.resolved()
    with run.locked():
        run.withdraw()
    assert not run.path.exists()


def test_an_edited_plugin_is_refused_by_name_and_kept_aside_with_changes(file, tmp_path):
    run = begun(file, tmp_path)
    with run.locked():
        run.prepare()
        file.write_text(KINDS.replace("0.5 *", "0.6 *"))
        with pytest.raises(BadInput, match=r"- plugins.kinds.py: .*\n\+ plugins.kinds.py"):
            begun(file, tmp_path).admit()
        changed = begun(file, tmp_path, "resume_with_changes=true")
        changed.admit()
        changed.prepare()
    assert (run.path / "plugins-1" / "kinds.py").read_text() == KINDS
    assert (run.path / "plugins" / "kinds.py").read_text() != KINDS


def test_a_reward_function_that_is_left_out_is_a_change(file, tmp_path):
    run = begun(file, tmp_path, "reward_functions.brevity_k=1")
    with run.locked():
        run.prepare()
        with pytest.raises(BadInput, match="- reward_functions.brevity_k.weight: 1.0"):
            begun(file, tmp_path).admit()


def test_a_copy_that_was_edited_or_is_gone_is_refused(file, tmp_path):
    run = begun(file, tmp_path)
    with run.locked():
        run.prepare()
    copy = run.path / "plugins" / "kinds.py"
    copy.write_text(KINDS + "\n# edited\n")
    with pytest.raises(BadInput, match=r"plugins/kinds.py is not the plug-in that the run was made with"):
        compose(str(run.path))
    copy.unlink()
    with pytest.raises(BadInput, match=r"made with the plug-in kinds.py, and there is no"):
        compose(str(run.path))
    assert compose(str(run.path), plugins=[file]).resolved() == run.recipe.resolved()


def test_a_finished_run_with_an_edited_plugin_does_not_say_finished(file, tmp_path, capsys):
    run = begun(file, tmp_path)
    with run.locked():
        run.prepare()
    (run.path / "model").mkdir()
    (run.path / "training.json").write_text(json.dumps({"steps": 60}))
    (run.path / "summary.json").write_text("{}")
    words = ["train", "grpo", "reward=shape_k", f"output_dir={run.path}", "--plugin", str(file)]
    assert main(words) == 0
    assert "finished" in capsys.readouterr().err
    assert main(["train", str(run.path), f"output_dir={run.path}"]) == 0
    file.write_text(KINDS.replace("0.5 *", "0.6 *"))
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "plugins.kinds.py" in said and "no step taken" not in said.split("error:")[-1]


def test_the_model_card_names_them_and_finds_the_copies(file, tmp_path):
    run = begun(file, tmp_path, "reward_functions.brevity_k=0.5")
    with run.locked():
        run.prepare()
    plugins._files.clear()
    card = str(model_card(run.path))
    assert "plug-in `kinds.py`" in card and "`brevity_k`: is added to the reward, times 0.5" in card
    assert "reward: `shape_k`" in card


def test_a_sweep_s_trials_have_copies(file, tmp_path):
    plan = Plan.read("grpo", ["reward=shape_k", "seed=0,1", f"output_dir={tmp_path / 'sweep'}"], [file])
    plan.settle()
    plan.prepare(0, plan.overrides(0))
    assert "--plugin" not in plan.train(0)
    assert (tmp_path / "sweep" / "recipes" / "plugins" / "kinds.py").read_text() == KINDS
    file.write_text(KINDS.replace("0.5 *", "0.6 *"))
    recipe = compose(plan.train(0)[-1])
    assert recipe.method.reward(GROUP)[0, 0] == 0.5  # type: ignore[index]
    with pytest.raises(BadInput, match="has changed while it was swept"):
        plan.refuse_changes()


def test_an_evaluation_finds_the_copies_of_its_run(file, tmp_path):
    run = begun(file, tmp_path)
    with run.locked():
        run.prepare()
    plugins._files.clear()
    (run.path / "model").mkdir()
    plugin_files.load_of_runs([run.path / "model"], {})
    assert tasks.build("sums_k").problems("test", 1)
    other = tmp_path / "other"
    shutil.copytree(run.path, other)
    (other / "plugins" / "kinds.py").write_text(KINDS + "\n# other\n")
    recipe = yaml.safe_load((other / "recipe.yaml").read_text())
    recipe["plugins"] = {"kinds.py": plugins.load(other / "plugins" / "kinds.py").digest}
    (other / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    with pytest.raises(BadInput, match="different plug-ins named kinds.py"):
        plugin_files.load_of_runs([run.path, other], {})
    plugin_files.load_of_runs([run.path, other], plugin_files.load([file]))


HEAD = "from lenrl.strategies.base import Reward\nfrom lenrl.tasks.base import Task\n\n\n"
CALL = "    def __call__(self, rollouts):\n        return rollouts.correct_PG\n"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("x = 1\n\nx = 1 / 0\n", 3, "ZeroDivisionError: division by zero"),
        ("x = (\n", 1, "SyntaxError"),
        ("import sys\nsys.exit(3)\n", 2, "SystemExit: 3"),
        (f"{HEAD}class Mine(Reward):\n{CALL}", 5, 'reward Mine has no name .* write name = "..."'),
        (f"{HEAD}class Mine(Reward):\n    name = 'mine_k'\n", 5, "does not define __call__"),
        (
            f"{HEAD}class Mine(Task):\n    def problems(self, split, count=None): ...\n",
            5,
            'write name: str = "..."',
        ),
        (f"{HEAD}class Mine(Reward):\n    name = 'kimi'\n{CALL}", 5, "reward 'kimi' exists already"),
    ],
)
def test_bad_files_are_refused_with_file_and_line(tmp_path, text, line, message):
    path = tmp_path / "bad.py"
    path.write_text(text)
    with pytest.raises(BadInput, match=message) as fault:
        compose("grpo", plugins=[path])
    assert f"{path}, line {line}" in str(fault.value)
    assert compose("grpo").recipe == "grpo"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "no strategy, task or verifier"),
        ("def f(texts):\n    return texts\n", "parameter `completions`"),
    ],
)
def test_a_file_without_any_plugin_is_refused(tmp_path, text, message):
    path = tmp_path / "none.py"
    path.write_text(text)
    with pytest.raises(BadInput, match=message):
        compose("grpo", plugins=[path])


def test_two_files_may_not_share_a_name_or_what_they_bring(file, tmp_path):
    (tmp_path / "sub").mkdir()
    twin = Path(shutil.copy(file, tmp_path / "twin.py"))
    with pytest.raises(BadInput, match="exists already, in .*kinds.py"):
        compose("grpo", plugins=[file, twin])
    same = tmp_path / "sub" / "kinds.py"
    same.write_text(KINDS + "\n# other\n")
    with pytest.raises(BadInput, match="have one name"):
        compose("grpo", plugins=[file, same])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("reward_functions.brevity=1", "Did you mean reward_functions.brevity_k"),
        ("reward_functions.brevity_k=heavy", "reward_functions.brevity_k.weight='heavy'"),
        ("reward_functions.brevity_k={wait: 1}", "Did you mean reward_functions.brevity_k.weight"),
        ("reward_functions=5", "name: weight"),
    ],
)
def test_bad_reward_functions_are_named(file, line, message):
    with pytest.raises(BadInput, match=message):
        compose("grpo", [line], [file])


class Point:
    """An entry point of a package."""

    def __init__(self, name, thing):
        self.name, self.value, self.thing = name, f"package:{name}", thing

    def load(self):
        if isinstance(self.thing, Exception):
            raise self.thing
        return self.thing


def test_installed_ones_are_found_by_name_and_a_broken_one_harms_no_other(file, monkeypatch):
    mine = plugins.load(file)
    plugins._files.clear()
    points = {
        "lenrl.tasks": [
            Point("sums_k", mine.objects["task"]["sums_k"]),
            Point("rotten", ImportError("gone")),
        ],
        "lenrl.verifiers": [Point("wrong", int)],
        "lenrl.reward_functions": [Point("short", mine.objects["reward_function"]["brevity_k"])],
    }
    monkeypatch.setattr(plugins, "entry_points", lambda group: points.get(group, []))
    assert tasks.build("sums_k").name == "sums_k"
    assert compose("grpo", ["reward_functions.short=2"]).method.functions[0].weight == 2
    names = listing()
    assert "cannot be loaded: ImportError: gone" in names["task"]["rotten"]
    assert "must be a subclass of lenrl.verify.base.VerifierPlugin" in names["verifier"]["wrong"]
    assert names["task"]["sums_k"] == "Sums of two digits."
    with pytest.raises(BadInput, match="installed task 'rotten'.*repair or uninstall"):
        tasks.build("rotten")


def scored(file, tmp_path, values, *more):
    lines = [{"prompt": "q", "length": 10, "correct": True, **value} for value in values]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return main(["score", "grpo", str(path), "reward_functions.brevity_k=0.5", "--plugin", str(file), *more])


def test_score_takes_logged_values_of_reward_functions(file, tmp_path, capsys):
    assert scored(file, tmp_path, [{"brevity_k": 1}, {"brevity_k": None}, {"brevity_k": -0.5}]) == 0
    rewards = [json.loads(line)["reward"] for line in capsys.readouterr().out.splitlines()]
    assert rewards == [1.5, 1.0, 0.75]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "line 2: field 'brevity_k' is missing; a reward function adds it"),
        ({"brevity_k": "x"}, "line 2: field 'brevity_k' is 'x'"),
    ],
)
def test_score_refuses_lines_without_them(file, tmp_path, capsys, value, message):
    assert scored(file, tmp_path, [{"brevity_k": 1}, value]) == 2
    assert message in capsys.readouterr().err


CHECKED = [
    "task.name=sums_k",
    "task.train=16",
    "task.dev=8",
    "task.test=4",
    "trainer.per_device_train_batch_size=16",
]


def test_check_tries_verifier_and_functions_on_gold_answers(file, capsys):
    words = ["grpo", *CHECKED, "reward_functions.brevity_k=0.5", "--plugin", str(file)]
    assert main(["check", *words]) == 0
    said = capsys.readouterr().out
    assert "digits_k" in said and "brevity k" in said and "on 4 gold answers" in said
    file.write_text(KINDS.replace("1 / (1 + len(text))", "text"))
    assert main(["check", *words]) != 0
    assert "reward function 'brevity_k'" in capsys.readouterr().err


def test_attack_tries_hacks_on_plugins(file, capsys):
    file.write_text(KINDS.replace("1 / (1 + len(text))", "len(text[0]['content']) / 10"))
    words = ["grpo", *CHECKED, "reward_functions.brevity_k=0.5", "--plugin", str(file)]
    assert main(["attack", *words, "--fail-on-pay"]) == 1, "long pays"
    capsys.readouterr()
    judge = [*words[:-3], "reward_functions.brevity_k={verdict: true}", *words[-2:]]
    assert main(["attack", *judge]) == 2
    assert "brevity_k" in capsys.readouterr().err


HELPED = """
from lenrl.strategies.base import Reward
from scale_beside_k import SCALE


class Scaled(Reward):
    name = "scaled_k"

    def __call__(self, rollouts):
        return SCALE * rollouts.correct_PG
"""


@pytest.fixture
def helped(tmp_path, monkeypatch):
    """A plug-in that imports a module beside it, which imports another."""
    monkeypatch.setattr(siblings._finder, "kept", {})
    folder = tmp_path / "helped"
    folder.mkdir()
    (folder / "scale_beside_k.py").write_text("from unit_beside_k import UNIT\n\nSCALE = 0.5 * UNIT\n")
    (folder / "unit_beside_k.py").write_text("UNIT = 1.0\n")
    (folder / "not_imported_k.py").write_text("1 / 0\n")
    (folder / "helped_k.py").write_text(HELPED)
    yield folder / "helped_k.py"
    for name in ("scale_beside_k", "unit_beside_k"):
        sys.modules.pop(name, None)


def paid(*recipe):
    return compose(*recipe).method.reward(GROUP)[0, 0]  # type: ignore[index]


def test_what_a_plugin_imports_from_its_folder_is_part_of_it(helped, tmp_path):
    words = ["reward=scaled_k", f"output_dir={tmp_path / 'run'}"]
    run = RunFolder(compose("grpo", words, [helped]))
    with run.locked():
        run.prepare()
    copies = run.path / "plugins"
    assert {path.name for path in copies.iterdir()} == {
        "helped_k.py",
        "scale_beside_k.py",
        "unit_beside_k.py",
    }
    (helped.parent / "unit_beside_k.py").write_text("UNIT = 3.0\n")
    edited = compose("grpo", words, [helped])
    assert paid("grpo", words, [helped]) == 1.5 and edited.digest() != run.recipe.digest()
    plugins._files.clear()
    assert paid(str(run.path)) == 0.5, "the copies, not what stands in the folder now"
    (copies / "unit_beside_k.py").write_text("UNIT = 4.0\n")
    plugins._files.clear()
    with pytest.raises(BadInput, match="helped_k.py is not the plug-in that the run was made with"):
        compose(str(run.path))


def test_a_worker_has_the_modules_beside_a_verifier(helped):
    file = helped.with_name("judge_k.py")
    file.write_text(
        "from lenrl.verify.base import VerifierPlugin\n\n\nclass Judge(VerifierPlugin):\n    name = 'judge_k'\n\n"
        "    def judge(self, text, answer, gold, columns):\n"
        "        from scale_beside_k import SCALE\n\n        return SCALE\n"
    )
    plugins.load(file)
    with Verifier(VerifierSettings.read({"kind": "judge_k", "workers": 1})) as verifier:
        (helped.parent / "unit_beside_k.py").write_text("UNIT = 2.0\n")
        [verdict] = verifier.verify([Claim("text", "1")])
    assert verdict.score == 0.5


def test_modules_beside_that_are_in_doubt_are_refused(helped):
    (helped.parent / "yaml.py").write_text("x = 1\n")
    helped.write_text("import yaml\n" + HELPED)
    with pytest.raises(BadInput, match=r"yaml.py stands beside it; rename that file"):
        compose("grpo", plugins=[helped])
    helped.write_text("import folder_k\n" + HELPED)
    (helped.parent / "folder_k").mkdir()
    (helped.parent / "folder_k" / "__init__.py").write_text("")
    with pytest.raises(BadInput, match=r"put what it needs of folder_k/ into a file"):
        compose("grpo", plugins=[helped])
    helped.write_text(HELPED)
    plugins.load(helped)
    other = helped.parent / "other"
    other.mkdir()
    (other / "scale_beside_k.py").write_text("SCALE = 7.0\n")
    (other / "other_k.py").write_text(HELPED.replace("scaled_k", "other_k"))
    with pytest.raises(
        BadInput, match=r"another module of that name, .*helped/scale_beside_k.py; rename one"
    ):
        plugins.load(other / "other_k.py")


def test_functions_that_others_made_are_found_by_their_name_in_the_file(tmp_path):
    file = tmp_path / "made.py"
    file.write_text(
        "import functools\nfrom trl.rewards import accuracy_reward, get_soft_overlong_punishment\n\n\n"
        "def _count(completions, word, **columns):\n    return [text.count(word) for text in completions]\n\n\n"
        "class Length:\n    def __call__(self, completions, **columns):\n        return [*map(len, completions)]\n\n\n"
        "near_cap_k = get_soft_overlong_punishment(max_completion_len=9, soft_punish_cache=4)\n"
        "waits_k = functools.partial(_count, word='Wait')\nlength_k = Length()\nnumber_k = 7\n"
    )
    found = plugins.load(file).objects["reward_function"]
    assert set(found) == {"near_cap_k", "waits_k", "length_k"}
    [function] = compose("grpo", ["reward_functions.waits_k=1"]).method.functions
    assert function.function(completions=["Wait, Wait"]) == [2]
    with pytest.raises(BadInput, match=r"made.py has number_k=7: a reward function is callable"):
        compose("grpo", ["reward_functions.number_k=1"])
    with pytest.raises(BadInput, match=r"made.py has accuracy_reward=.*and not imported"):
        compose("grpo", ["reward_functions.accuracy_reward=1"])
