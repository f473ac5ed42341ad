"""Structure of a thinking: worked cases, hostile replies, and the reading of chains."""

import time

import pytest

from lenrl import measures
from lenrl.evaluation.structured import thinking_of
from lenrl.tasks.algorithms import AlgorithmsTask
from lenrl.tasks.chain import ChainTask
from lenrl.tasks.problem import Problem


@pytest.mark.parametrize(
    ("attempts", "failed", "review", "chars_by"),
    [
        (["3+4=7\n7*2=4"], 0, 0, (10, 0, 0)),
        (["3+4=7\n7*2=4", "3+4=7\n7*2=4"], 0, 0.5, (10, 10, 0)),
        (["3+4=7\n7*2=5", "3+4=7\n7*2=4"], 0.5, 0.5, (0, 10, 10)),  # another result than the answer
        (["3+4*2=4"], 0, 0, (7, 0, 0)),  # two steps in a line
        (["3+4=7"], 1, 0, (0, 0, 5)),  # not to the end
        (["4+4=8\n8*2=4"], 1, 0, (0, 0, 10)),  # another chain
        (["3+4=7\n8*2=4"], 1, 0, (0, 0, 10)),  # does not go on from the line before
        (["3+4=7\nhm\n7*2=4"], 1, 0, (0, 0, 12)),
        (["", "3+4=7\n7*2=4"], 0, 0, (10, 0, 0)),
    ],
)
def test_passes_of_a_chain(attempts, failed, review, chars_by):
    problem = Problem("q", "3+4*2", "4")
    text = "\nWait\n".join(attempts)
    found = measures.by_attempts(text, ChainTask().attempts(problem, text, "4"))
    assert (found.failed, found.review, found.chars_by) == (failed, review, chars_by)
    assert found.steps == sum(len(lines.split("\n")) for lines in attempts if lines)
    assert measures.by_attempts(text, ChainTask().attempts(problem, text, None)).failed == 1, "no answer"


def test_no_steps_have_no_shares():
    found = measures.by_attempts("", ChainTask().attempts(Problem("q", "3+4*2", "4"), "\nWait\n", "4"))
    assert (found.steps, found.failed, found.review) == (0, None, None)
    assert measures.by_cues(" \n ").review is None


@pytest.mark.parametrize(
    ("algorithm", "prompt", "thinking", "steps"),
    [
        ("mode", "<5>a<6>a?", ";", 0),
        ("mode", "<5>a<6>a?", ";\nWait\na1b0c0;;a2b0c0", 2),
        ("mode", "<5>a<6>a?", "a1b0c0a1b1000000000c9999999999", 2),
        ("count", "a:<5>a<6>a?", "c1c" + "9" * 5000, 100),
        ("robber", "<5>1<6>2?", "t1s0t1000000000000s9", 2),
    ],
)
def test_hostile_steps_of_an_algorithm(algorithm, prompt, thinking, steps):
    attempts = AlgorithmsTask(algorithm=algorithm).attempts(Problem("q", prompt, "a"), thinking, "a")
    found = measures.by_attempts(thinking, attempts)
    assert 0 <= found.steps <= steps and (found.steps > 0) == (found.failed is not None)


def test_cues_of_paragraphs():
    text = f"{'a' * 100}\n \n{'Wait, ' + 'b' * 44}\n\n\n{'Instead ' + 'c' * 42}"
    found = measures.by_cues(text)
    assert (found.steps, found.review, found.switches, found.failed) == (3, 0.25, 1, None)
    assert measures.by_cues("one\nLet me double-check it").review == 22 / 25, "lines, where no line is blank"
    assert measures.by_cues("awaited" + "x" * 60 + " wait").review == 0, "a word, and only at the beginning"


DOT = """```dot
digraph "g" { node [style=filled, fillcolor=lightpink];
  problem [label="1+1", fillcolor=lightblue]; answer [fillcolor="lightblue"];
  a [label="try ] 3", fillcolor=lightpink]
  "step b" [fillcolor="lightblue"]; c [
    fillcolor = lightblue]; d [label=grey]
  problem -> a [fillcolor=lightpink]; a -> c; c -> answer }
```"""


def test_a_judge_s_graph_and_numbers():
    found = measures.by_graph("1\n\n22\n\n3", f"Review: 2, 9\n{DOT}")
    assert found is not None and (found.steps, found.failed, found.review) == (3, pytest.approx(1 / 3), 0.5)
    assert measures.by_graph("1", DOT).review is None, "it did not say"
    assert measures.by_graph("1", f"review:\n{DOT}").review == 0
    assert measures.by_graph("1", "review: 1\ndigraph { a -> b }") is None
    line = "digraph {p [shape=box] a [fillcolor=lightpink] b [fillcolor=lightblue] a -> b [color=red]}"
    found = measures.by_graph("1", line)
    assert found is not None and (found.steps, found.failed) == (2, 0.5), "two nodes on a line"
    hidden = 'a [label="x\\" [fillcolor=lightpink]", fillcolor=lightblue]'
    assert measures.by_graph("1", hidden).failed == 0, "quoted text counts for nothing"


HOSTILE = (
    '"' + '\\"' * 100_000,
    '"' + '\\"' * 90_000,
    "a[" * 100_000,
    "a [fillcolor" + " " * 200_000,
    ";" + " " * 200_000,
    "review" + " " * 200_000,
    "review:" + "9" * 200_000,
    '"\n' * 100_000,
    "wait " * 40_000,
)


@pytest.mark.parametrize("reply", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_are_read_in_linear_time(reply):
    began = time.process_time()
    measures.by_graph(reply, reply)
    measures.by_cues(reply)
    ChainTask().attempts(Problem("q", "3+4*2", "4"), reply, "4")
    assert time.process_time() - began < 2


def test_choice_and_correlation_leave_out_what_nobody_read():
    correct, nan = [[1, 0, 1, 0], [1, 1, 0, None]], float("nan")
    values = [[0.0, 1.0, 0.0, 1.0], [nan, 0.5, 0.5, 0.1]]
    correct = [[nan if c is None else c for c in row] for row in correct]
    assert measures.chosen_by(correct, values).tolist() == [[1.0], [0.5]]
    assert measures.chosen_by([[nan, 1.0]], [[0.0, nan]]).size == 0
    assert measures.at_fixed_problem(correct, values)["r_length"].value == pytest.approx(-((2 / 3) ** 0.5))
    assert measures.at_fixed_problem([[1, 0]], [[0.0, 0.0]]) == {"r_length": None, "icr": None}


def test_the_thinking_of_a_completion():
    assert thinking_of("<think>\n1+1=2\n</think>\n\\boxed{2}") == "1+1=2"
    assert thinking_of("1+1=2\n</think> 2") == thinking_of("<think>1+1=2") == thinking_of("1+1=2") == "1+1=2"
