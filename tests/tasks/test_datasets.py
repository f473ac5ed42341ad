"""Every data set of recipes/task/, on rows of its own shape: what is asked, and which gold answer counts."""

import json
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lenrl import tasks
from lenrl.cli import eval as eval_verb
from lenrl.config import compose, group, group_choices
from lenrl.errors import BadInput
from lenrl.tasks.golds import gold
from lenrl.training.prepare import prepare
from lenrl.verify.pool import Claim, Verifier
from lenrl.verify.settings import VerifierSettings

GENERATED = ("gsm_easy", "gsm_long", "gsm_new", "gym_letters", "gym_sums", "gym_symbolic")

# Name: rows with the columns of the data set, and the gold answers in them. Problems are made up.
SHAPES = {
    "deepscaler": (
        [
            {"problem": "Half of 1?", "answer": "\\frac{1}{2}", "solution": ""},
            {"problem": "2 to the 10?", "answer": "1024", "solution": "So \\boxed{1024}."},
        ],
        ["\\frac{1}{2}", "1024"],
    ),
    "math": (
        [
            {
                "problem": "Solve $2x=1$.",
                "level": "Level 1",
                "type": "Algebra",
                "solution": "Not $\\boxed{2}$ but $x=\\boxed{\\frac{1}{2}}$.",
            },
            {
                "problem": "List it.",
                "level": "Level 5",
                "type": "Algebra",
                "solution": "$\\boxed{\\left\\{1,\\,2\\right\\}}$",
            },
            {"problem": "1+2?", "level": "Level 1", "type": "Prealgebra", "solution": "It is $\\boxed 3$."},
        ],
        ["\\frac{1}{2}", "\\left\\{1,\\,2\\right\\}", "3"],
    ),
    "gsm8k": (
        [
            {"question": "2 bags of 3?", "answer": "There are 2*3=<<2*3=6>>6.\n#### 6"},
            {"question": "Many?", "answer": "#### is a mark.\n#### 1,250"},
        ],
        ["6", "1,250"],
    ),
    "math500": (
        [
            {
                "problem": "Polar?",
                "solution": "...",
                "answer": "\\left( 3, \\frac{\\pi}{2} \\right)",
                "subject": "Precalculus",
                "level": 2,
                "unique_id": "test/precalculus/807.json",
            }
        ],
        ["\\left( 3, \\frac{\\pi}{2} \\right)"],
    ),
    "amc23": ([{"id": 0, "answer": "27.0", "url": "https://...", "question": "27?"}], ["27.0"]),
    "aime24": (
        [
            {
                "id": 60,
                "problem": "73?",
                "solution": "...",
                "answer": "073",
                "url": "https://...",
                "year": "2024",
            }
        ],
        ["073"],
    ),
    "aime25": ([{"problem": "Angles?", "answer": "336^\\circ", "id": "2"}], ["336^\\circ"]),
    "olympiadbench": (
        [
            {
                "id": 1606,
                "question": "How many?",
                "solution": ["..."],
                "final_answer": ["2"],
                "is_multiple_answer": False,
                "unit": None,
                "answer_type": "Numerical",
                "subfield": "Combinatorics",
                "difficulty": "Competition",
            },
            {
                "id": 1607,
                "question": "Which?",
                "solution": ["..."],
                "final_answer": ["$1$", "$-2$"],
                "is_multiple_answer": True,
                "unit": None,
                "answer_type": "Numerical",
                "subfield": "Algebra",
                "difficulty": "Competition",
            },
        ],
        ["2", "1, -2"],
    ),
    "minerva": (
        [{"question": "How far?", "answer": "4.5e33"}, {"question": "x?", "answer": "x^{2}+1"}],
        None,
    ),
    "deepmath": (
        [
            {
                "question": "The limit?",
                "final_answer": "\\infty",
                "difficulty": 7.5,
                "topic": "Calculus",
                "r1_solution_1": "long",
                "r1_solution_2": "long",
                "r1_solution_3": "long",
            }
        ],
        ["\\infty"],
    ),
}
EVALUATED = ("math500", "amc23", "aime24", "aime25", "olympiadbench", "minerva")
SPLIT = {"math": "train", "gsm8k": "train"}  # those whose `files` name splits


def stand_in(tmp_path, name, rows):
    """A local copy: a file, or a folder with one for each split."""
    if name not in SPLIT:
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


@pytest.fixture(scope="module")
def verifier():
    with Verifier(VerifierSettings(workers=1)) as found:
        yield found


def test_every_task_file_is_tested_here():
    assert set(SHAPES) == set(group_choices("task")) - {
        "algorithms",
        "chain",
        "gym",
        "table",
        "mix",
        *GENERATED,
    }


@pytest.mark.parametrize("name", GENERATED)
def test_a_generator_brings_its_verifier(name):
    checked_run = prepare(compose("grpo", [f"task={name}", "task.train=8", "task.dev=0", "task.test=4"]))
    assert checked_run.verifier.kind == "gym"
    problems = checked_run.task.problems("train")
    assert len({problem.prompt for problem in problems}) == 8 * (1 + getattr(checked_run.task, "rounds", 0))
    with Verifier(checked_run.verifier) as verifier:
        golds = [problem.answer or "" for problem in problems]
        assert verifier.readable(golds) == [True] * len(golds)
        answers = [json.loads(answer)["entry"]["answer"] for answer in golds]
        claims = [Claim(f"so \\boxed{{{right}}}", g) for right, g in zip(answers, golds, strict=True)]
        assert all(verdict.correct for verdict in verifier.verify(claims))


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_a_data_set_gives_prompts_and_golds_that_verify(name, tmp_path, verifier):
    rows, golds = SHAPES[name]
    recipe = compose("grpo", [f"task={name}", f"task.path='{stand_in(tmp_path, name, rows)}'"])
    task = tasks.build(recipe.task)
    problems = task.problems(SPLIT.get(name, "test" if name in EVALUATED else "train"), len(rows))
    found = [problem.answer or "" for problem in problems]
    assert found == (golds or [row["answer"] for row in rows])
    assert verifier.readable(found) == [True] * len(found)
    verdicts = verifier.verify([Claim(f"so \\boxed{{{answer}}}", answer) for answer in found])
    assert [verdict.correct for verdict in verdicts] == [True] * len(found)
    user = tasks.messages(task, problems[0])[-1]["content"]
    assert problems[0].prompt in user and "\\boxed{}" in user
    assert not {"solution", "r1_solution_1"} & set(problems[0].columns)  # long texts stay out of the memory


@pytest.mark.parametrize("name", EVALUATED)
def test_an_evaluation_set_is_not_trained_on_by_accident(name, tmp_path):
    path = stand_in(tmp_path, name, SHAPES[name][0])
    task = tasks.build({**group("task", name), "path": str(path)})
    assert task.problems("train") == []
    assert len(task.problems("test")) == len(SHAPES[name][0])


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_the_hub_is_asked_for_the_data_set_its_subsets_and_splits(name, monkeypatch):
    import datasets

    seen = []

    def load(path, subset, revision, split, streaming):
        seen.append((path, subset, split))
        return datasets.Dataset.from_list(SHAPES[name][0])

    monkeypatch.setattr(datasets, "load_dataset", load)
    spec = group("task", name)
    problems = tasks.build({**spec, "train": None}).problems("train")
    subsets = spec.get("subset")
    subsets = subsets if isinstance(subsets, list) else [subsets]
    assert seen == [(spec["path"], subset, SPLIT.get(name)) for subset in subsets]
    assert len(problems) == len(subsets) * len(SHAPES[name][0])


def test_each_written_number_equals_the_plain_one(verifier):
    pairs = [("73", "073"), ("27", "27.0"), ("336", "336^\\circ"), ("-2, 1", "1, -2"), ("1250", "1,250")]
    verdicts = verifier.verify([Claim(f"\\boxed{{{answer}}}", written) for answer, written in pairs])
    assert [verdict.correct for verdict in verdicts] == [True] * len(pairs)


@pytest.mark.parametrize(
    ("value", "form", "answer"),
    [
        ("no box at all", "boxed", None),
        ("an open one: \\boxed{1", "boxed", None),
        ("\\boxed{1} and \\boxed{}", "boxed", None),
        ("\\fbox{\\{1\\}}", "boxed", "\\{1\\}"),
        ("\\boxed{\\text{a \\} b}}", "boxed", "\\text{a \\} b}"),
        ("no mark", "hashes", None),
        ("####", "hashes", None),
        ([], "list", None),
        (["$1$ or $2$"], "list", "$1$ or $2$"),
        (["$x$"], "list", "x"),
        ("7", "list", "7"),
        (7, "plain", "7"),
        ([1, 2], "plain", "[1, 2]"),
        (7.0, "plain", "7"),
        (7.5, "plain", "7.5"),
        (True, "plain", "true"),
        (float("nan"), "plain", None),
        (Decimal("7.50"), "plain", "7.50"),
        (None, "boxed", None),
    ],
)
def test_forms_of_gold_answers(value, form, answer):
    assert gold(value, form) == answer


def test_a_local_copy_that_does_not_fit_is_refused(tmp_path):
    spec = {**group("task", "gsm8k"), "path": str(tmp_path)}
    with pytest.raises(BadInput, match=r"none of train.jsonl, train.json, train.csv, train.parquet"):
        tasks.build(spec).problems("train")
    with pytest.raises(BadInput, match=r"one file, but task.files names splits"):
        tasks.build(spec | {"path": "rows.jsonl"}).problems("train")


def test_a_folder_of_the_name_of_a_split_is_not_taken_for_it(tmp_path, monkeypatch):
    (tmp_path / "train").mkdir()
    monkeypatch.chdir(tmp_path)
    path = stand_in(tmp_path, "gsm8k", SHAPES["gsm8k"][0])
    assert len(tasks.build({**group("task", "gsm8k"), "path": str(path)}).problems("train")) == 2


def test_kept_columns_are_those_named(tmp_path):
    path = stand_in(tmp_path, "deepmath", SHAPES["deepmath"][0])
    spec = {**group("task", "deepmath"), "path": str(path)}
    assert tasks.build(spec).problems("train")[0].columns == {"topic": "Calculus"}
    assert set(tasks.build(spec | {"keep": None}).problems("train")[0].columns) >= {"topic", "r1_solution_3"}


def test_eval_finds_a_task_by_the_name_of_its_file():
    task = eval_verb.divide(["tiny", "task=aime24", "task.test=5"])[1]
    assert task == {**group("task", "aime24"), "test": 5}
    with pytest.raises(BadInput, match="aime24"):
        group("task", "aime2024")
