"""Recipes, data and logged rows of which one thing is changed: used, or refused in one message; never a traceback."""

import json
from functools import cache

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lenrl.config import compose
from lenrl.dryrun.score import score
from lenrl.errors import BadInput
from lenrl.tasks.rows import read_rows
from lenrl.training.prepare import prepare

VALUES = st.sampled_from(
    [None, True, False, "", " ", "x", "7", "nan", "a" * 3000, "../x", "\u202e", "\x1b[2J", "a: b", "???", "${seed}",
     "${nope.x}", "[1,", 0, 1, -1, 3, 0.5, -0.5, 1e-300, 1e308, float("nan"), float("inf"), 2**31, 10**30, [], [[]],
     [None], ["x", 3], {}, {"x": 1}, {"name": "kimi"}, {"name": None}, {"_target_": "os.system"}, {1: 2}]
)  # fmt: skip
RECIPES = ("grpo", "drpo", "laser_d", "weighted")
few, some = (
    settings(
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        max_examples=n,
    )
    for n in (8, 25)
)


@cache
def leaves(recipe):
    """Paths of keys of a composed recipe, sections too."""

    def below(value, path):
        yield from [path] if path else []
        for name, part in value.items() if isinstance(value, dict) else ():
            yield from below(part, (*path, name))

    return sorted(below(compose(recipe).resolved(), ()))


@st.composite
def mutations(draw):
    """(recipe, path of a key, maybe misspelled, value)."""
    recipe = draw(st.sampled_from(RECIPES))
    path = draw(st.sampled_from(leaves(recipe)))
    name = path[-1]
    names = [name, name, name, name[1:], name + "s", name.upper(), "", "a b", f"{name}.x", "_" * 300]
    return recipe, (*path[:-1], draw(st.sampled_from(names))), draw(VALUES)


@few
@example(("drpo", ("model",), None))
@given(mutations())
def test_a_recipe_with_one_changed_key_is_valid_or_refused(tmp_path_factory, mutation):
    recipe, path, value = mutation
    for name in reversed(path):
        value = {name: value}
    file = tmp_path_factory.mktemp("mine") / "mine.yaml"
    file.write_text(yaml.safe_dump({"defaults": [recipe, "_self_"], **value}), encoding="utf-8")
    try:
        prepare(compose(str(file), [f"output_dir={file.parent / 'run'}"]))
    except BadInput as refusal:
        assert 0 < len(str(refusal)) < 6000 and "Traceback" not in str(refusal)


ROW = {"prompt": "a", "length": 3, "correct": True, "truncated": False, "answer_length": 2, "mean_logp": -0.5}
FIELDS = st.sampled_from(
    [*ROW, "text", "answer", "score", "steps", "token_ids", "logps", "part", "target", "x", ""]
)


@some
@given(st.sampled_from(["kimi", "drpo", "lcpo_max"]), FIELDS, VALUES, st.integers(0, 3))
def test_logged_rows_with_one_changed_field_are_scored_or_refused(
    tmp_path_factory, recipe, field, value, place
):
    rows = [{**ROW, "length": 3 + n, "correct": n % 2 == 0} for n in range(4)]
    rows[place][field] = value
    file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    try:
        json.dumps(score(composed(recipe), file), allow_nan=False)
    except BadInput as refusal:
        assert len(str(refusal)) < 2000


composed = cache(compose)


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv"])
@some
@given(
    st.lists(st.dictionaries(st.text(max_size=5), VALUES | st.text(max_size=9), max_size=3), max_size=3),
    st.data(),
)
def test_a_data_file_with_a_changed_byte_is_read_or_refused(tmp_path_factory, suffix, rows, data):
    texts = {"jsonl": "\n".join(map(json.dumps, rows)), "json": json.dumps(rows)}
    text = texts.get(suffix) or "\n".join(",".join(map(str, row.values())) for row in rows)
    content = bytearray(text.encode("utf-8", "surrogatepass"))
    if content:
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path_factory.mktemp("data") / f"data.{suffix}"
    file.write_bytes(bytes(content))
    try:
        assert read_rows(file)
    except BadInput as refusal:
        assert len(str(refusal)) < 2000
