"""Small files are written whole or not at all."""

import json
import os

import pytest

from lenrl.files import (
    PART,
    digest,
    read_json,
    read_json_lines,
    remove_drafts,
    write_json,
    write_text,
    write_whole,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_failing_write_leaves_the_old_file_and_no_draft(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def half(draft):
        draft.write_text("ne")
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_whole(path, half)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file.txt"]


def test_an_interrupted_write_leaves_no_draft_either(tmp_path):
    def stopped(draft):
        draft.write_text("ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "file.txt", stopped)
    assert names(tmp_path) == []


def test_nobody_sees_a_file_that_is_being_written(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def write(draft):
        draft.write_text("new")
        assert path.read_text() == "old"
        assert draft.name == f"file.txt.{os.getpid()}{PART}", "another process has another draft"

    write_whole(path, write)
    assert path.read_text() == "new"
    assert names(tmp_path) == ["file.txt"]


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    order = []
    monkeypatch.setattr("os.fsync", lambda handle: order.append(os.fstat(handle).st_size))
    monkeypatch.setattr("os.replace", lambda *paths: order.append(paths))
    write_text(tmp_path / "file.txt", "new")
    assert [type(event) for event in order] == [int, tuple] and order[0] == 3


def test_what_a_killed_process_left_of_named_files_goes_and_nothing_else(tmp_path):
    for name in ("a.json.17.part", "b.json.17.part", "a.json.part", "a.json"):
        (tmp_path / name).touch()
    remove_drafts(tmp_path, ["a.json"])
    assert names(tmp_path) == ["a.json", "a.json.part", "b.json.17.part"]


def test_text_is_utf_8(tmp_path):
    write_text(tmp_path / "file.txt", "π ≈ 3\n")
    assert (tmp_path / "file.txt").read_bytes() == "π ≈ 3\n".encode()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_json_lacks_are_refused(tmp_path, value):
    path = tmp_path / "file.json"
    write_json(path, {"loss": 0.5})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"loss": value})
    assert read_json(path) == {"loss": 0.5}
    assert names(tmp_path) == ["file.json"]


def test_json_comes_back(tmp_path):
    value = {"a": [1, 2.5, None, True], "b": {"c": "ü"}}
    write_json(tmp_path / "file.json", value)
    assert read_json(tmp_path / "file.json") == value
    assert (tmp_path / "file.json").read_text().endswith("}\n")


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff{}"])
def test_a_default_stands_for_what_is_no_json(tmp_path, content):
    path = tmp_path / "file.json"
    if content is not None:
        path.write_bytes(content)
    assert read_json(path) is None
    assert read_json(path, {}) == {}


@pytest.mark.parametrize("cut", [b'{"step": 3', b'{"step": 3, "x": "\xc3', b"", b"3"])
def test_a_cut_last_line_is_left_out(tmp_path, cut):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2}\n' + cut)
    assert read_json_lines(path) == [{"step": 1}, {"step": 2}]


def test_a_separator_inside_a_text_ends_no_line(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text(
        json.dumps({"text": "one\u2028two\x85three"}, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    assert read_json_lines(path) == [{"text": "one\u2028two\x85three"}]


def test_no_file_has_no_lines(tmp_path):
    assert read_json_lines(tmp_path / "metrics.jsonl") == []


def test_a_digest_tells_values_apart():
    digests = {digest(value) for value in ({}, [], {"a": 1}, {"a": 2}, {"a": "1"}, {"b": 1})}
    assert len(digests) == 6
    assert all(len(one) == 16 for one in digests)
