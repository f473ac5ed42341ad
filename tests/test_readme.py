"""What README and the first pages tell a newcomer to type works as it stands there."""

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.forks import Forks

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
START = (ROOT / "docs" / "start.md").read_text()
OWN = (ROOT / "docs" / "methods_of_your_own.md").read_text()
SMALL = [
    "trainer.max_steps=2",
    "trainer.per_device_train_batch_size=16",
    "trainer.max_completion_length=64",
    "trainer.eval_steps=0",
    "task.train=32",
]


def block(language: str, page: str, after: str) -> str:
    """The first fenced block of a language after some words of a page."""
    text = page[page.index(after) :]
    found = re.search(rf"```{language}\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    with Forks(tmp_path_factory.mktemp("said")) as forks:
        yield forks


def test_a_method_of_ones_own_is_one_file_and_one_recipe(processes, tmp_path):
    (tmp_path / "mine.py").write_text(block("python", OWN, "## The shortest one"))
    (tmp_path / "mine.yaml").write_text(block("yaml", OWN, "## The shortest one"))
    line = re.search(r"^lenrl train (mine\.yaml --plugin mine\.py)", OWN, re.MULTILINE)
    assert line is not None
    recipe, *plugin = line[1].split()
    begin = ["-m", "lenrl.run_process", "--config-name", recipe]
    done = processes.run(tmp_path, *begin, *plugin, *SMALL, "output_dir=out")
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [json.loads(x) for x in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 2
    right = [x for x in lines if x["accuracy"]]
    assert right, "nothing was right: the test shows nothing"
    assert all(0 < x["reward"] < x["accuracy"] for x in right), "the reward is the page's"
    refused = processes.run(tmp_path, *begin, *SMALL)
    assert refused.returncode == 2
    assert "sqrt" in refused.stderr


def test_the_batch_of_the_start_page_is_scored(processes, tmp_path):
    script = block("bash", START, "prints rewards and advantages of logged rollouts")
    (tmp_path / "batch.jsonl").write_text(re.findall(r"echo '(.*?)'", script, re.DOTALL)[0] + "\n")
    words = re.search(r"^lenrl (score .*)$", script, re.MULTILINE)
    assert words is not None
    done = processes.run(tmp_path, "-m", "lenrl.cli", *words[1].split())
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["length"] for row in rows] == [400, 900, 300]
    assert rows[0]["advantage"] > rows[1]["advantage"] > 0 > rows[2]["advantage"]
    assert abs(sum(row["advantage"] for row in rows)) < 1e-6


def test_the_readme_is_short_and_names_every_recipe():
    from lenrl.config import recipe_files

    assert len(README.splitlines()) < 150
    named = set(re.findall(r"`([a-z0-9_]+)`", README[README.index("## Methods") :]))
    assert named >= {name for name in recipe_files() if "/" not in name} - {"demo"}


def test_the_lines_of_your_model_are_checked_and_the_trainer_is_that_of_the_python_page():
    """`lenrl train`'s words compose; what they choose for a model of 1.5B is tested in test_fit.py."""
    from lenrl.config import compose

    lines = block("bash", README, "## Your model").replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True)[1:] for line in lines if line]
    assert [verb for verb, *_ in words] == ["ls", "ls", "check", "train", "eval"]
    for _, recipe, *overrides in words[2:4]:
        chosen = compose(recipe, overrides)
        assert (chosen.recipe, chosen.model.path) == ("drpo", "org/model")
    assert chosen.task["path"] == "org/dataset" and chosen.trainer["max_completion_length"] == 8192
    python_page = (ROOT / "docs" / "python.md").read_text()
    assert block("python", README, "## From a TRL script") == block("python", python_page, "two-lines:begin")


@pytest.mark.slow
def test_from_a_run_to_a_decision(processes, tmp_path):
    """Every line of the story, with small settings behind the words that train."""
    few = ["task.test=16", "task.dev=8", "trainer.eval_steps=2", "trainer.save_steps=2"]
    small = {"train": [*SMALL, *few], "sweep": [*SMALL, *few], "eval": ["task.test=16", "max_new_tokens=64"]}
    script = re.sub(r"\s+#.*", "", block("bash", START, "## From a run to a decision"))
    lines = [line.split() for line in script.splitlines() if line]
    assert [words[1] for words in lines] == ["attack", "train", "sweep", "compare", "eval"]
    for _, verb, *words in lines:
        kept = [word for word in words if word.split("=")[0] not in {s.split("=")[0] for s in SMALL}]
        done = processes.run(tmp_path, "-m", "lenrl.cli", verb, *kept, *small.get(verb, []))
        assert done.returncode == 0, (verb, done.stdout[-1000:], done.stderr[-2000:])
    assert (tmp_path / "outputs" / "decide.html").stat().st_size > 100_000
    assert len(list((tmp_path / "outputs" / "figures").glob("*.csv"))) >= 3
    decided = json.loads((tmp_path / "outputs" / "decided" / "eval.json").read_text())
    assert [entry["samples"] for entry in decided["models"]] == [4, 4]
    (pair,) = decided["pairs"]
    assert len(pair["accuracy_diff_ci95"]) == 2 and not pair["differs"]
