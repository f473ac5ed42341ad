"""The examples of docs/plugins.md, checked and trained with as they stand there."""

import json
import re
from pathlib import Path

import pytest

from lenrl import plugins
from lenrl.cli import main
from lenrl.tasks import build
from lenrl.verify.pool import Claim, Verifier
from lenrl.verify.settings import VerifierSettings
from tests.training.runs import lines_of, rows_of, small_run

PAGE = (Path(__file__).parents[1] / "docs" / "plugins.md").read_text()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The page's blocks as files, by name; they are no plug-ins of other tests."""
    before = dict(plugins._files)
    folder = tmp_path_factory.mktemp("page")
    blocks = re.findall(r"<!-- plugin: (\w+) -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    for name, text in blocks:
        (folder / f"{name}_of_the_page.py").write_text(text)
    yield {name: folder / f"{name}_of_the_page.py" for name, _ in blocks}
    plugins._files.clear()
    plugins._files.update(before)


def test_check_tries_all_of_them_together(files, capsys):
    small = ["trainer.per_device_train_batch_size=16", "trainer.eval_steps=0", "task.test=4"]
    chosen = ["task.name=sums", "verifier.kind=close", "reward_functions={brevity: 0.2, polite: 0.1}"]
    given = [word for file in files.values() for word in ("--plugin", str(file))]
    assert main(["check", "grpo", *chosen, *small, *given]) == 0
    said = capsys.readouterr().out
    assert "none, none, none, none on 4 gold answers" in said, "polite has no opinion"
    assert "calls none of the gold answers right" not in said


def test_the_task_s_splits_share_nothing(files):
    plugins.load(files["task"])
    problems = [build({"name": "sums", "largest": 6}).problems(split) for split in ("train", "dev", "test")]
    assert sum(map(len, problems)) == len({p.id for some in problems for p in some}) == 36


def test_the_verifier_grades(files):
    plugins.load(files["verifier"])
    with Verifier(VerifierSettings.read({"kind": "close", "tolerance": 0.1})) as verifier:
        verdicts = verifier.verify([Claim(f"\\boxed{{{x}}}", "2.5") for x in ("2.55", "3", "9", "x")])
    assert [(verdict.correct, verdict.score) for verdict in verdicts] == [
        (True, 1.0), (False, 0.5), (False, 0.0), (False, 0.0),
    ]  # fmt: skip


def test_the_functions_are_parts_of_a_training_s_reward(files, tmp_path):
    plugins.load(files["functions"])
    trainer, verifier = small_run("grpo", tmp_path, "reward_functions={brevity: 0.2, polite: 0.1}")
    with verifier:
        trainer.train()
    for line in lines_of(tmp_path):
        assert line["reward"] == pytest.approx(line["reward_correctness"] + line["reward_brevity"], abs=1e-6)
        assert 0 < line["reward_brevity"] < 0.2 and line["logged_please_share"] == 0
    rows = rows_of(tmp_path)
    assert all(row["part_brevity"] == pytest.approx(1 / (1 + len(row["completion"]) / 100)) for row in rows)
    assert all(row["part_polite"] is None for row in rows)
    noted = json.loads((tmp_path / "data.json").read_text())
    assert noted.keys() >= {"train"} and noted["train"].startswith("64 problems, ")
