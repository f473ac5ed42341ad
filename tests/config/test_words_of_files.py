"""`@FILE` for prompts and templates: a recipe holds the words, so that what a file held is what a run agrees with."""

import pytest
import yaml

from lenrl.config import compose
from lenrl.errors import BadInput
from lenrl.generation.pretrained import ModelOptions, load_tokenizer_info
from lenrl.tasks import build

TEMPLATE = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[assistant] "


@pytest.fixture
def words(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "system.txt").write_text("Think {hint}\nbriefly.\n", encoding="utf-8")
    (tmp_path / "user.txt").write_text("Q: {prompt}")
    (tmp_path / "chat.jinja").write_text(TEMPLATE)
    return tmp_path


def test_a_recipe_holds_what_the_files_held_and_composes_to_itself(words):
    options = ["task.system_prompt=@system.txt", "task.template=@user.txt", "model.chat_template=@chat.jinja"]
    recipe = compose("grpo", [*options, "evals=[{task: {use: chain, template: '@user.txt'}}]"])
    assert (
        recipe.task["system_prompt"] == "Think {hint}\nbriefly." and recipe.task["template"] == "Q: {prompt}"
    )
    assert recipe.model.chat_template == TEMPLATE
    assert recipe.evals[0].task["template"] == "Q: {prompt}"
    (words / "recipe.yaml").write_text(yaml.safe_dump(recipe.resolved()))
    for name in ("system.txt", "user.txt", "chat.jinja"):
        (words / name).unlink()
    assert compose("recipe.yaml").digest() == recipe.digest()


@pytest.mark.parametrize("option", ["task.system_prompt=@system.txt", "model.chat_template=@system.txt"])
def test_other_words_are_another_run(words, option):
    former = compose("grpo", [option]).digest()
    (words / "system.txt").write_text("Be brief.")
    assert len({former, compose("grpo", [option]).digest(), compose("grpo").digest()}) == 3


def test_words_of_a_mix_and_of_a_task_outside_of_recipes(words):
    part = "{task: {use: chain, system_prompt: '@system.txt'}}"
    mix = compose("grpo", ["task=mix", f"task.parts={{a: {part}, b: {{task: chain}}}}"])
    assert mix.task["parts"]["a"]["task"]["system_prompt"].startswith("Think")
    assert build({"name": "chain", "template": "@user.txt"}).template == "Q: {prompt}"


def test_the_tokenizer_gets_the_template(words):
    info = load_tokenizer_info("tiny", ModelOptions.model_validate({"chat_template": "@chat.jinja"}))
    chat = [{"role": "user", "content": "7*3"}]
    text = info.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert text == "[user] 7*3\n[assistant] "


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file"), (b"\xff\xfe", "no UTF-8"), (b" \n", "is empty"), (b"@x", "begins with an @")],
)
def test_a_file_that_holds_no_words_is_refused(words, content, reason):
    if content is not None:
        (words / "p.txt").write_bytes(content)
    for option in ("task.system_prompt", "task.template", "model.chat_template"):
        with pytest.raises(BadInput, match=rf"{option}='@p.txt'.*{reason}"):
            compose("grpo", [f"{option}=@p.txt"])
    with pytest.raises(BadInput, match=reason):
        build({"name": "chain", "system_prompt": "@p.txt"})
