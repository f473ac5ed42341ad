"""Measures of answers in a file, `lenrl eval --answers`, and the rows it refuses."""

import json

import pytest

from lenrl.cli import main


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_answers_are_measured_by_what_their_rows_hold(tmp_path, capsys):
    def ruler(count, target):
        return {"answer": "w " * count, "target": target, "model": "b"}

    rows = [
        {"answer": "x" * 12, "baseline": "x" * 2, "category": "facts", "model": "a"},
        {"answer": "x", "baseline": "x" * 2, "category": "facts", "model": "a"},
        {"answer": "x" * 30, "baseline": "", "category": "code", "model": "a"},
        *[ruler(80, 80), ruler(95, "80"), ruler(101, 80), ruler(801, ">800")],
        {"answer": "abc", "other": "xyz", "preference": 1, "model": "c"},
        {"answer": "abcd", "other": "wxyz", "preference": 0.5, "model": "c"},
    ]
    path = lines(tmp_path / "answers.jsonl", rows)
    assert main(["eval", "--answers", path, "--out", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out" / "answers.json").read_text())
    assert found["a"] == {
        "answers": 3,
        "yap": {"index": 17.5, "medians": {"facts": 5.0, "code": 30.0}, "answers": 3},
    }
    assert (found["b"]["ruler"]["precise"], found["b"]["ruler"]["flexible"]) == (0.5, 0.75)
    assert found["b"]["ruler"]["precise_ci95"][0] < 0.5 < found["b"]["ruler"]["precise_ci95"][1]
    assert (found["c"]["wins"]["rate"], found["c"]["wins"]["length_controlled"]) == (0.75, 0.75)
    text = capsys.readouterr().out
    assert "length score" not in text, "no row asks for a length"
    ruled = found["b"]["ruler"]
    assert {level: one["answers"] for level, one in ruled["levels"].items()} == {"0": 3, "2": 1}
    assert (ruled["targets"]["80"]["precise"], ruled["levels"]["2"]["flexible"]) == (1 / 3, 1)
    assert "17.5" in text and "50.0%" in text and "75.0%" in text


def test_lengths_that_were_asked_for_are_scored(tmp_path, capsys):
    def row(words, **asked):
        return {"answer": "w " * words, **asked}

    rows = [row(words, asked=1000) for words in (1000, 2000, 500)]
    rows += [row(700, constraint="about 1000"), row(1500, constraint="about 1000")]
    rows += [row(40, lo=20, hi=30), {"answer": "\u4f60\u597d" * 10, "lo": 20, "hi": 20}]
    path = lines(tmp_path / "answers.jsonl", rows)
    assert main(["eval", "--answers", path, "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "answers.json").read_text())["answers"]
    assert found["length"]["score"] == pytest.approx((1 + 2 / 3 + 0.5) / 3)
    assert 0 <= found["length"]["score_ci95"][0] < 0.5 and found["length"]["score_ci95"][1] == 1
    kinds = found["constraint"]["by_kind"]
    assert {kind: one["score"] for kind, one in kinds.items()} == {
        "about": pytest.approx((0.75 + 0.5) / 2),
        "range": pytest.approx((3 - 80 / 30 + 1) / 2),
    }
    assert found["constraint"]["answers"] == 4 and "constraint score" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"text": "a"}, "add the column `answer`"),
        ({"answer": 3, "baseline": "x"}, "answer=3: should be a valid string"),
        ({"answer": "a"}, "preference and other for win rates"),
        ({"answer": "a", "target": 75}, "none of the Ruler's 10, 30"),
        ({"answer": "a", "preference": 2, "other": "b"}, "subtract 1"),
        ({"answer": "a", "preference": True, "other": "b"}, "outside 0 to 1"),
        ({"answer": "a", "preference": 1}, "no `other`"),
        ({"answer": "a", "asked": 0}, "asked=0"),
        ({"answer": "a", "asked": 10**400}, "less than 1000000000"),
        ({"answer": "a", "asked": True}, "needs a number of words"),
        ({"answer": "a", "constraint": "roughly 1000"}, "at least 1000"),
        ({"answer": "a", "lo": 3}, "give lo and hi"),
        ({"answer": "a", "lo": 3, "hi": 2}, "lo <= hi"),
    ],
)
def test_answers_that_can_t_be_measured_are_refused_by_line(row, words, tmp_path, capsys):
    path = lines(tmp_path / "answers.jsonl", [row])
    assert main(["eval", "--answers", path]) == 2
    out, err = capsys.readouterr()
    assert words in err and "answers.jsonl" in err and out == ""
