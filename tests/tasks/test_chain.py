"""The chain task, and the embedded model that was made for it."""

import itertools
import random

import pytest
from pydantic import ValidationError

from lenrl.generation.pretrained import TINY
from lenrl.tasks.chain import SPLIT_PERCENT, ChainTask, evaluate, sft_trace, split_of

TRACE = "<think>\n3+4=7\n7*2=4\n4-7=7\nWait\n3+4=7\n7*2=4\n4-7=7\n</think>\n\\boxed{7}"

PINNED = {"3+4": "dev", "2-7": "sft", "9*9": "train", "5*5*5*5*5*5*5*5": "train", "1+2": "test"}


def by_counting(text):
    """The same value by repeated counting, independent of the task's own arithmetic."""
    value = int(text[0])
    for operator, digit in zip(text[1::2], text[2::2], strict=True):
        total = {"+": range(int(digit)), "-": range(9 * int(digit)), "*": range(value * int(digit))}[operator]
        value = (0 if operator == "*" else value) + len(total)
        value = int(str(value)[-1])
    return value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3+4*2-7", 7),  # not 3 + 8 - 7 = 4: left to right
        ("2-7", 5),  # modulo 10, never negative
        ("9*9", 1),
        ("1-9*3+0", 6),
        ("0-1-1-1*9", 3),
        ("8+5*7-6*4", 0),
    ],
)
def test_golden_values(text, value):
    assert evaluate(text) == value


def test_answers_agree_with_independent_arithmetic():
    problems = ChainTask(seed=5).problems("train", 3000)
    assert all(p.answer == str(by_counting(p.prompt)) for p in problems)


def test_splits_never_overlap_whatever_the_seed():
    drawn = {
        split: {p.prompt for seed in (0, 1, 2) for p in ChainTask(seed=seed).problems(split, 4000)}
        for split in SPLIT_PERCENT
    }
    for split, texts in drawn.items():
        assert all(split_of(text) == split for text in texts)
        for other, others in drawn.items():
            assert split == other or not texts & others


def test_splits_have_their_share():
    digits, operators = "0123456789", "+-*"
    texts = list(map("".join, itertools.product(digits, operators, digits, operators, digits)))
    for split, percent in SPLIT_PERCENT.items():
        assert 100 * sum(split_of(t) == split for t in texts) / len(texts) == pytest.approx(percent, abs=2)


def test_the_split_of_a_problem_is_pinned():
    """A changed hash would move test problems into the set the embedded model was trained on."""
    assert [split_of(t) for t in PINNED] == list(PINNED.values())


def test_draws_are_deterministic_nested_and_depend_on_the_seed():
    task = ChainTask()
    assert task.problems("dev", 200) == task.problems("dev", 200)
    assert task.problems("dev", 50) == task.problems("dev", 200)[:50]
    assert task.problems("dev", 200) != ChainTask(seed=1).problems("dev", 200)


def test_problems_are_unique_and_evenly_spread():
    problems = ChainTask().problems("dev", 210)
    assert len({p.id for p in problems}) == 210
    counts = [p.difficulty for p in problems]
    assert {n: counts.count(n) for n in range(2, 9)} == dict.fromkeys(range(2, 9), 30)
    assert all(p.difficulty == sum(ch.isdigit() for ch in p.prompt) for p in problems)


def test_a_short_length_runs_out_and_the_others_fill_up():
    problems = ChainTask(max_operands=3).problems("train", 900)
    assert 0 < sum(p.difficulty == 2 for p in problems) < 150
    assert len({p.prompt for p in problems}) == 900


def test_fields_of_a_problem():
    problem = ChainTask(min_operands=4, max_operands=4).problems("test", 1)[0]
    assert problem.id == f"chain:{problem.prompt}"
    assert (len(problem.answer), problem.difficulty, problem.columns) == (1, 4, {})


def test_too_many_problems_are_refused_with_the_number_that_exists():
    task = ChainTask(max_operands=2)
    with pytest.raises(ValueError, match="only .* exist") as caught:
        task.problems("dev", 300)
    existing = int(str(caught.value).split("only ")[1].split()[0])
    assert len(task.problems("dev", existing)) == existing


def test_refusals():
    with pytest.raises(ValueError, match="unknown"):
        ChainTask().problems("validation", 1)
    with pytest.raises(ValueError, match="negative"):
        ChainTask().problems("dev", -1)
    with pytest.raises(ValidationError, match="above max_operands"):
        ChainTask(min_operands=5, max_operands=3)
    with pytest.raises(ValidationError):
        ChainTask(digits=3)
    with pytest.raises(ValidationError, match="names a number twice"):
        ChainTask(operands=(2, 2))
    with pytest.raises(ValidationError, match="either the list or the range"):
        ChainTask(operands=(2, 9), max_operands=4)


def test_traces_hold_every_style_and_mostly_the_answer():
    rng = random.Random(0)
    traces = [sft_trace("3+4*2-7", rng) for _ in range(2000)]
    assert TRACE in traces  # one re-check
    assert TRACE[: TRACE.index("Wait")] + TRACE[TRACE.index("</think>") :] in traces  # none
    assert "\\boxed{7}" in traces  # answered directly
    assert any("3+4*2=4" in trace for trace in traces)  # two steps a line
    assert 0.9 < sum(trace.endswith("\\boxed{7}") for trace in traces) / len(traces) < 1
    assert all("Wait" not in sft_trace("3+4*2-7", rng, rechecks=False) for _ in range(200))


@pytest.fixture(scope="module")
def tokenizer():
    return pytest.importorskip("transformers").AutoTokenizer.from_pretrained(TINY)


def test_task_text_survives_the_tokenizer(tokenizer):
    ids = tokenizer.encode(TRACE)
    assert tokenizer.decode(ids) == TRACE
    assert tokenizer.decode(ids, skip_special_tokens=True) == TRACE
    assert tokenizer.decode([*ids, tokenizer.eos_token_id], skip_special_tokens=True) == TRACE
    assert len(ids) == 6 * 6 + 8 + 1  # six lines of six, five words, three line ends, digit, brace


@pytest.mark.parametrize("word", ["<think>", "</think>", "Wait", "\\boxed{"])
def test_words_are_one_token(tokenizer, word):
    assert len(tokenizer.encode(word)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "".join(map(chr, range(32, 127))),
        "don 't  split , or   strip . ",
        "\x00\x07\r\n\t",
        "h\u00e9llo \u4e2d\u6587 \U0001f600\u200d\U0001f525 e\u0301 \u202e \ufeff",
        "",
    ],
)
def test_any_text_is_encoded_without_loss(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_padding(tokenizer):
    assert tokenizer.padding_side == "left"
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert tokenizer(["3+4", "3"], padding=True).attention_mask == [[1, 1, 1], [0, 0, 1]]


def test_the_chat_template_opens_the_turn_but_not_the_thought(tokenizer):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "3+4"}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == "<|system|>Be brief.<|im_end|><|user|>3+4<|im_end|><|assistant|>"
    closed = tokenizer.apply_chat_template(messages, tokenize=False)
    assert text == closed + "<|assistant|>"


def test_the_model_loads_and_is_small(tokenizer):
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(TINY)
    assert model.config.head_dim == 32  # vLLM refuses less
    assert model.config.vocab_size == len(tokenizer)
    assert model.config.tie_word_embeddings
    assert model.config.max_position_embeddings >= 1024
    assert {str(p.dtype) for p in model.parameters()} == {"torch.float32"}
    assert sum(path.stat().st_size for path in TINY.rglob("*") if path.is_file()) < 2_000_000


def test_the_model_solves_a_chain(tokenizer):
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(TINY)
    problem = ChainTask().problems("dev", 4)[3]
    inputs = tokenizer.apply_chat_template(
        [{"role": "user", "content": problem.prompt}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    out = model.generate(**inputs, do_sample=False, max_new_tokens=192)[0, inputs["input_ids"].shape[1] :]
    assert out[-1] == tokenizer.eos_token_id
    text = tokenizer.decode(out, skip_special_tokens=True)
    assert text.startswith("<think>\n")
    assert text.endswith(f"</think>\n\\boxed{{{problem.answer}}}")


def test_named_numbers_of_operands_take_turns():
    problems = ChainTask(operands=(11, 2, 6)).problems("train", 9)
    assert [problem.difficulty for problem in problems] == [11, 2, 6] * 3
    assert len({problem.id for problem in problems}) == 9
