"""Recipes and files that mean harm: each is refused at once, in one message, and nothing leaves its place."""

import io
import json
import logging
import re
import shutil
import time

import pytest

from lenrl.cli import main
from lenrl.config import compose
from lenrl.config.validation import refuse_secrets
from lenrl.dryrun.logged_batches import read
from lenrl.errors import BadInput
from lenrl.evaluation import answers
from lenrl.files import read_json, read_json_lines
from lenrl.generation.pretrained import find, refuse_pickles
from lenrl.launch.command import trusting
from lenrl.launch.run_folder import RunFolder
from lenrl.redact import Redacting, printable, redacted
from lenrl.tasks.prompts import render
from lenrl.tasks.rows import read_rows
from lenrl.terminal import Terminal

# --- numbers that are none


@pytest.mark.parametrize(
    "override",
    [
        "reward={name: kimi, weight: true}",
        "reward={name: weighted, parts: [{name: correctness, weight: false}]}",
        "truncation={name: dot, alpha: true}",
        "guard.hang_timeout_s=true",
        "update.tokens=true",
        "seed=false",
    ],
)
def test_true_and_false_are_no_numbers(override):
    with pytest.raises(BadInput, match="number|integer"):
        compose("grpo", [override])


@pytest.mark.parametrize(
    ("section", "options"),
    [
        ("verifier", {"timeout_s": True}),
        ("verifier", {"workers": False}),
        ("task", {"train": True, "name": "chain"}),
    ],
)
def test_true_and_false_are_no_numbers_for_tasks_and_verifiers(section, options):
    from lenrl import tasks
    from lenrl.verify.settings import VerifierSettings

    with pytest.raises(BadInput, match="number, not true or false"):
        VerifierSettings.read(options) if section == "verifier" else tasks.build(options)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "[1, NaN]", '{"a": [-1e999]}'])
def test_a_number_that_is_none_is_refused_in_rows(tmp_path, number):
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"prompt": "1+1", "answer": "2"}}\n{{"prompt": "1+2", "answer": {number}}}\n')
    with pytest.raises(BadInput, match=r"line 2: field 'answer' holds (-?inf|nan), which is no value"):
        read_rows(path)
    path.write_text(f'{{"prompt": "1+2", "length": 3, "text": "3", "answer": {number}}}\n')
    with pytest.raises(BadInput, match="line 1: not a JSON object: .* is not a JSON number"):
        read(path)
    with pytest.raises(BadInput, match="is not a JSON number|field 'length'"):
        read([{"prompt": "a", "length": float("nan")}])


def test_a_number_that_is_none_is_refused_in_a_parquet_file(tmp_path):
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"prompt": ["a"], "answer": [float("nan")]}), tmp_path / "a.parquet")
    with pytest.raises(BadInput, match="row 1: field 'answer' holds nan"):
        read_rows(tmp_path / "a.parquet")


# --- keys that become folders, and interpolations


@pytest.mark.parametrize(
    "override",
    [
        "recipe=../../elsewhere", "recipe=..", "recipe=.", "recipe=/tmp/x", "recipe=a/../../b", "recipe='a//b'",
        f"recipe={'a' * 300}", "recipe='a\nb'", "recipe=''", "name=..", "name=a/b", "name=../b", "name=''",
        f"name={'a' * 300}",
        "evals=[{name: ../x, task: {name: chain}}]", f"evals=[{{name: {'a' * 300}, task: {{name: chain}}}}]",
        "task={name: mix, parts: {../x: chain, b: chain}}", "plugins={../x.py: abc}",
    ],
)  # fmt: skip
def test_no_key_leads_out_of_the_folder_of_runs(override):
    with pytest.raises(BadInput) as refused:
        from lenrl import tasks

        tasks.build(compose("grpo", [override]).task)
    assert override.split("=")[0] in str(refused.value) and len(str(refused.value)) < 1500


@pytest.mark.parametrize(
    "value",
    [
        "${oc.env:HARMLESS}", "${ oc.env : HARMLESS}", "${oc.${recipe}:HARMLESS}", "${${recipe}:HARMLESS}",
        "${oc.${trainer.a}nv:HARMLESS}", "x${${recipe}}", "${oc.decode:'${oc.env:HARMLESS}'}", 
        "a ${seed} ${oc.env:HARMLESS} b",
        "${oc.env:HARMLESS", "${seed}${${recipe}.env:HARMLESS}",
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", ["value", "defaults", "nested"])
def test_no_interpolation_reads_the_environment(tmp_path, monkeypatch, value, place):
    monkeypatch.setenv("HARMLESS", "what-stands-in-it")
    path = tmp_path / "mine.yaml"
    quoted = json.dumps(value)
    path.write_text(
        {
            "value": f"defaults: [base, _self_]\nlogging: {{project: {quoted}}}\n",
            "defaults": f"defaults: [base, {{task: {quoted}}}, _self_]\n",
            "nested": f"defaults: [base, _self_]\nrecipe: oc.env\nevals: [{{name: a, task: {{path: {quoted}}}}}]\n",
        }[place]
    )
    with pytest.raises(BadInput) as refused:
        compose(str(path))
    assert "what-stands-in-it" not in str(refused.value)


def test_an_interpolation_of_a_key_is_what_it_names():
    assert compose("grpo", ["logging.project=${model.path}-${seed}"]).logging.project == "tiny-0"


# --- secrets, control characters, long texts


@pytest.mark.parametrize(
    "name",
    ["PGPASSWORD", "MYSQL_PWD", "GITHUB_PAT", "DB_PASS", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "KEY",
     "SENTRY_DSN", "SSH_PASSPHRASE", "basic_auth", "MYAPIKEY", "GHTOKEN", "SESSION_COOKIE", "TOKEN2", "DB_CREDENTIALS"],
)  # fmt: skip
@pytest.mark.parametrize(
    "value", ["/starts/with/a/slash+x", "hunter2", "a1b2c3d4e5f6", "p@ss", "with space, and more"]
)
def test_a_secret_is_in_no_message(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert redacted(f"no answer ({value}), {value}.") == "no answer (***), ***."


@pytest.mark.parametrize("value", ["/starts/with/a/slash+x", "hunter2"])
def test_a_secret_is_in_no_recipe(monkeypatch, value):
    monkeypatch.setenv("PGPASSWORD", value)
    with pytest.raises(BadInput) as refused:
        compose("grpo", [f'logging.project="{value}"'])
    assert "holds a secret (not shown)" in str(refused.value) and value not in str(refused.value)


@pytest.mark.parametrize(
    "key", ["token", "hf_token", "HUB_TOKEN", "apikey", "wandb_api_key", "aws_secret_access_key", "db_passwd"]
)
def test_a_value_under_the_name_of_a_secret_is_in_no_recipe(key):
    with pytest.raises(BadInput, match=f"task.config.{key} holds a secret") as refused:
        refuse_secrets({"task": {"config": {key: "hunter2"}}})
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "query", ["?api_key=hunter2", "?page=1&token=hunter2#top", "?sig=hunter2", "?x=1&X-Amz-Signature=hunter2"]
)
def test_a_key_in_an_address_is_in_no_recipe_and_no_message(query):
    address = f"https://example.org/rows.jsonl{query}"
    with pytest.raises(BadInput, match="holds a secret"):
        refuse_secrets({"task": {"path": address}})
    assert "hunter2" not in redacted(address)


def test_names_and_addresses_with_tokens_that_are_no_secrets_pass():
    names = [
        "tokens",
        "pad_token",
        "eos_token",
        "max_new_tokens",
        "long_token",
        "short_token",
        "tokenizer",
        "key",
    ]
    refuse_secrets(dict.fromkeys(names, "text") | {"token": True, "hub_token": None})
    refuse_secrets(["https://example.org/a?tokens=3&max_tokens=5", "Is it a secret? A token = 3", "a?sign=1"])


def test_what_is_named_alike_and_no_secret_stays(monkeypatch, tmp_path):
    for name, value in [
        ("SSL_KEY", str(tmp_path)), ("PWD", str(tmp_path) + "/x"), ("TOKENIZERS_PARALLELISM", "falsefalse"), 
        ("PATH_KEYS", "abcdefgh"),
        ("AUTH", "none"), ("PASS", "abc"), ("DB_PASS", "cat1"),
    ]:  # fmt: skip
        monkeypatch.setenv(name, value)
    text = f"{tmp_path}/x falsefalse abcdefgh none abc concat12"
    assert redacted(text) == text


@pytest.mark.parametrize("at", range(9_980, 10_010))
def test_no_part_of_a_secret_is_left_at_a_cut(monkeypatch, at):
    monkeypatch.setenv("HF_TOKEN", "SECRETSECRET")
    text = "." * at + "SECRETSECRET" + "." * 30_000 + "SECRETSECRET" + "." * at
    shown = printable(text)
    assert "SE" not in shown.replace("***", "") and "ET" not in shown and len(shown) < 20_100


@pytest.mark.parametrize(
    "text", ["a" * 10**7, "a://" * 10**6, "://" * 10**6, "user@" * 10**6, "\x1b[" * 10**6]
)
def test_a_long_message_is_cut_before_anything_reads_it(text):
    """Ten million characters would take hours to look through for the user names of addresses."""
    started = time.process_time()
    record = logging.LogRecord("x", 40, __file__, 1, "%s", (text,), None)
    assert Redacting().filter(record) and len(record.getMessage()) < 21_000
    assert time.process_time() - started < 20


def test_control_characters_reach_no_terminal(capsys, tmp_path):
    hostile = "\x1b[2J\x1b]0;title\x07\x9b31m\r\x7f\u202eabc"
    out = io.StringIO()
    answers.show({hostile: {"answers": 1}}, Terminal(file=out, force_terminal=True, width=100))
    assert main(["train", hostile]) == 2
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "a", "length": hostile}) + "\n")
    assert main(["score", "grpo", str(path)]) == 2
    assert logging.lastResort is not None
    logging.lastResort.handle(logging.LogRecord("x", 40, __file__, 1, hostile, (), None))
    printed, err = capsys.readouterr()
    for text in (printed, err, re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())):
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text), ascii(text)
    assert "␛" in out.getvalue()


# --- sizes


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{c}: &{c} [{','.join(['*' + b] * 9)}]\n" for b, c in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "holds more than 100000 values"),
        ("a: &a [1, *a]\n", "inside of what it stands for"),
        ("a: " + "[" * 5000 + "]" * 5000, "nests deeper than 50"),
        ("name: " + "a" * 10**7, "has 1000000. bytes, a recipe has 1000000 at most"),
        ("a: \x00", "special characters"),
        ("a: [1, 2\n", "can't be composed|no YAML"),
    ],
    ids=["aliases", "circle", "depth", "name", "NUL", "cut"],
)
def test_a_recipe_beyond_all_bounds_is_refused_at_once(tmp_path, text, said):
    (tmp_path / "task").mkdir()
    places = {
        "recipe": (tmp_path / "mine.yaml", []),
        "group": (tmp_path / "task" / "own.yaml", ["defaults: [base, {task: own}, _self_]\n"]),
        "other": (tmp_path / "first.yaml", ["defaults: [base, first, _self_]\n"]),
        "run": (tmp_path / "run" / "recipe.yaml", ["defaults: [base, _self_]\n"]),
    }
    (tmp_path / "run").mkdir()
    for place, (path, recipe) in places.items():
        path.write_text(text)
        (tmp_path / "mine.yaml").write_text(recipe[0] if recipe else text)
        with pytest.raises(BadInput, match=said) as refused:
            if place == "run":
                RunFolder(compose("grpo", [f"output_dir={tmp_path / 'run'}"])).admit()
            compose(str(tmp_path / "mine.yaml"), ["task=own"] if place == "group" else [])
        assert len(str(refused.value)) < 1500
        path.unlink()


@pytest.mark.parametrize(
    "override",
    [f"name={'a' * 10**7}", "evals=" + "[" * 9000 + "]" * 9000, "+".join("a" * 10**6) + "=1",
     "logging.project='" + "a" * 10**6],
    ids=["name", "brackets", "key", "open quote"],
)  # fmt: skip
def test_an_override_beyond_all_bounds_is_refused_at_once(override):
    with pytest.raises(BadInput) as refused:
        compose("grpo", [override])
    assert len(str(refused.value)) < 1500


@pytest.mark.parametrize("deep", ["[" * 100_000, "[" * 900 + "]" * 900, '{"a":' * 100_000, "9" * 10_000])
def test_json_that_nests_too_deep_is_no_traceback(tmp_path, capsys, deep):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(f'{{"prompt": "a", "length": {deep}}}\n')
    good = tmp_path / "good.jsonl"
    good.write_text('{"prompt": "a", "length": 3, "correct": true}\n' * 2)
    state = tmp_path / "state.json"
    state.write_text(deep)
    for line in (["grpo", str(rows)], ["curriculum", str(good), "--state", str(state)]):
        assert main(["score", *line]) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ") and "Traceback" not in said and len(said) < 2000
    if not deep.endswith("]"):
        with pytest.raises(BadInput, match="nested too deeply|not readable|not JSON"):
            read_rows(rows)
        assert read_json(state) is None
    assert read_json_lines(state) == []


@pytest.mark.parametrize("deep", ["[" * 100_000, '{"format": ' + "[" * 100_000, "9" * 10_000])
def test_a_manifest_that_nests_too_deep_is_a_damaged_one(tmp_path, deep):
    from lenrl.training.checkpoint import manifest

    (tmp_path / manifest.MANIFEST).write_text(deep)
    assert "cannot be read" in manifest.faults(tmp_path)[0]


# --- models and their files


def test_only_the_command_line_trusts_the_code_of_a_model(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("defaults: [base, _self_]\nmodel: {trust_remote_code: true}\n")
    for more in ([], ["model.path=tiny"]):
        with pytest.raises(BadInput, match="only the command line may say so"):
            compose(str(path), more)
    assert compose(str(path), ["model.trust_remote_code=false"]).model.trust_remote_code is False
    trusted = compose(str(path), ["model.trust_remote_code=true"])
    assert trusted.model.trust_remote_code and trusting(trusted) == ["model.trust_remote_code=true"]
    assert trusting(compose("grpo")) == []
    written = tmp_path / "recipe.yaml"  # as a launch writes it; its ranks compose it again
    written.write_text(json.dumps(trusted.resolved()))
    assert compose(str(written), trusting(trusted)) == trusted


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ raise_exception('no system role') }}", "TemplateError: no system role"),
        ("{% if %}", "TemplateSyntaxError"),
        ("{{ messages[7].content }}", "UndefinedError"),
        ("{{ ().__class__.__bases__[0].__subclasses__() }}", "SecurityError"),
    ],
)
def test_a_chat_template_that_refuses_is_one_message(template, said):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(find("tiny"))
    tokenizer.chat_template = template
    with pytest.raises(BadInput, match=f"the chat template of .* refuses messages of system, user .*{said}"):
        render(tokenizer, [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}])


def test_a_model_of_pickles_is_one_message(tmp_path):
    from lenrl.generation.transformers_engine import load

    folder = tmp_path / "model"
    shutil.copytree(find("tiny"), folder)
    refuse_pickles(str(folder))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    for of in (lambda: refuse_pickles(str(folder)), lambda: load(str(folder))):
        with pytest.raises(BadInput, match="pytorch_model.bin, which Python unpickles"):
            of()
