"""`sample` against plain `generate`; traps around end-of-text, padding and hidden decoding options."""

import copy
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from lenrl.errors import RunFailed
from lenrl.generation.base import Batches, Decoding
from lenrl.generation.pretrained import TINY, end_ids
from lenrl.generation.sampling import sample

PROMPTS = ["3+4*2-7", "9*2", "1+1", "7*4+8", "5-3*2+2*9-4"]


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(TINY)


@pytest.fixture
def model():
    return AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32).eval()


def greedy(cap):
    return Decoding(name="greedy", max_new_tokens=cap)


def ids_of(tokenizer, prompts=PROMPTS):
    chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
    return [
        tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)["input_ids"]
        for chat in chats
    ]


def test_greedy_equals_plain_generate_one_by_one(model, tokenizer):
    prompts = ids_of(tokenizer)
    found = sample(model, tokenizer, prompts, greedy(60), Batches(3))
    for ids, completion in zip(prompts, found, strict=True):
        config = GenerationConfig(max_new_tokens=60, do_sample=False, eos_token_id=1, pad_token_id=0)
        plain = model.generate(torch.tensor([ids]), generation_config=config)[0, len(ids) :].tolist()
        assert completion.ids == plain
        assert completion.truncated == (plain[-1] != 1)


def random_model(kind, **options):
    """Two layers of random weights that speak the tiny model's vocabulary and end at random places."""
    torch.manual_seed(0)
    sizes = dict(
        vocab_size=40, hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4
    )
    config = AutoConfig.for_model(
        kind, **sizes, num_key_value_heads=2, eos_token_id=1, pad_token_id=0, **options
    )
    return AutoModelForCausalLM.from_config(config).float().eval()


@pytest.mark.parametrize(
    ("kind", "options"),
    [("qwen2", {}), ("llama", {}), ("mistral", {"sliding_window": 8}), ("qwen3", {"head_dim": 16})],
)
def test_rows_that_end_leave_the_batch_and_nothing_else_changes(tokenizer, kind, options):
    model, rng = random_model(kind, **options), random.Random(1)
    prompts = [[rng.randrange(2, 40) for _ in range(rng.randint(1, 12))] for _ in range(24)]
    ends = [1, 7, 13]
    sizes = []
    forward = model.forward
    model.forward = lambda *args, **given: sizes.append(len(given["input_ids"])) or forward(*args, **given)
    for decoding in (greedy(40), Decoding(max_new_tokens=40, seed=5)):
        sizes.clear()
        found = sample(model, tokenizer, prompts, decoding, Batches(24), eos_ids=ends)
        assert sizes[0] == 24 and sizes[-1] < 24, "the batch got smaller"
        assert sizes == sorted(sizes, reverse=True)
        alone = sample(model, tokenizer, prompts, decoding, Batches(1), eos_ids=ends)
        assert found == alone
        assert len({len(c.ids) for c in found}) > 3, "they end at different places"
        assert all((c.ids[-1] in ends) != c.truncated for c in found)


def test_a_model_with_another_kind_of_state_keeps_its_batch(tokenizer, model, monkeypatch):
    prompts = ids_of(tokenizer)
    before = sample(model, tokenizer, prompts, greedy(60))
    sizes = []
    forward = model.forward
    model.forward = lambda *args, **given: sizes.append(len(given["input_ids"])) or forward(*args, **given)
    monkeypatch.setattr("lenrl.generation.key_values.DIVISIBLE", ())
    assert sample(model, tokenizer, prompts, greedy(60)) == before
    assert set(sizes) == {len(prompts)}


@pytest.mark.slow
@pytest.mark.alone
def test_evaluation_is_at_least_one_and_a_half_times_as_fast_as_generate():
    """The script's own exit code says that the tokens are the same."""
    script = Path(__file__).parents[2] / "scripts" / "bench_eval.py"
    line = [sys.executable, script, "--problems", "96", "--sizes", "16", "64", "--rounds", "2"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ratios = dict(re.findall(r"plain, (\d+) rows .* s +([\d.]+) times", done.stdout))
    assert float(ratios["16"]) >= 1.5 and float(ratios["64"]) >= 1.2, done.stdout


def test_draws_depend_on_seed_and_prompt_not_on_batch_or_order(model, tokenizer):
    prompts = ids_of(tokenizer) * 3
    decoding = Decoding(max_new_tokens=40, seed=3)
    found = sample(model, tokenizer, prompts, decoding, Batches(15))
    assert found == sample(model, tokenizer, prompts, decoding, Batches(4))
    other = Decoding(max_new_tokens=40, seed=4)
    assert found != sample(model, tokenizer, prompts, other, Batches(15))
    assert found[0] != found[5], "repetitions of a prompt are different samples"
    order = list(range(5))
    random.Random(0).shuffle(order)
    shuffled = sample(model, tokenizer, [prompts[i] for i in order], decoding)
    assert shuffled == [found[i] for i in order]


def test_draws_follow_the_probabilities(model, tokenizer):
    prompt = ids_of(tokenizer, ["8*7"])[0]
    with torch.no_grad():
        logits = model(torch.tensor([prompt])).logits[0, -1] / 2.0
    decoding = Decoding(max_new_tokens=1, temperature=2.0)
    drawn = sample(model, tokenizer, [prompt] * 4000, decoding, Batches(4000))
    counts = torch.bincount(torch.tensor([c.ids[0] for c in drawn]), minlength=len(logits)) / 4000
    assert (counts - logits.softmax(-1)).abs().max() < 0.03


def test_top_k_and_top_p_narrow_the_choice(model, tokenizer):
    prompts = ids_of(tokenizer)
    best = sample(model, tokenizer, prompts, greedy(30))
    hot = {"max_new_tokens": 30, "temperature": 5.0}
    assert sample(model, tokenizer, prompts, Decoding(**hot, top_k=1)) == best
    assert sample(model, tokenizer, prompts, Decoding(**hot, top_p=1e-6)) == best
    assert sample(model, tokenizer, prompts, Decoding(**hot)) != best


def test_the_models_generation_config_does_not_leak(model, tokenizer):
    prompts = ids_of(tokenizer)
    decoding = Decoding(max_new_tokens=40, seed=1)
    before = sample(model, tokenizer, prompts, decoding, eos_ids=[1])
    leaky = GenerationConfig(
        do_sample=True,
        top_k=1,
        repetition_penalty=9.0,
        min_new_tokens=39,
        temperature=0.1,
        eos_token_id=[1, 5],
    )
    model.generation_config = leaky
    assert sample(model, tokenizer, prompts, decoding, eos_ids=[1]) == before
    assert model.generation_config is leaky


def test_global_random_streams_and_training_modes_stay(model, tokenizer):
    model.train()
    model.model.layers[1].eval()
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    sample(model, tokenizer, ids_of(tokenizer), Decoding(max_new_tokens=5))
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes


def test_every_end_id_ends_and_is_counted(model, tokenizer):
    prompts = ids_of(tokenizer)
    free = sample(model, tokenizer, prompts, greedy(50), eos_ids=[])
    assert all(c.truncated and len(c.ids) == 50 for c in free)
    second = free[0].ids[7]
    found = sample(model, tokenizer, prompts, greedy(50), eos_ids=[1, second])
    for whole, cut in zip(free, found, strict=True):
        places = [i for i, token in enumerate(whole.ids) if token in (1, second)]
        assert cut.ids == whole.ids[: places[0] + 1] if places else cut.truncated
        assert cut.truncated == (not places)


def test_pad_may_equal_end_and_a_cap_reached_with_end_is_no_truncation(model, tokenizer):
    prompts = ids_of(tokenizer)
    before = sample(model, tokenizer, prompts, greedy(60))
    same = copy.deepcopy(tokenizer)
    same.pad_token = same.eos_token
    assert same.pad_token_id == 1
    assert sample(model, same, prompts, greedy(60)) == before
    shortest = min((c for c in before if not c.truncated), key=lambda c: len(c.ids))
    again = sample(model, tokenizer, prompts, greedy(len(shortest.ids)))
    assert [c.truncated for c in again].count(False) >= 1


def test_end_ids_come_from_tokenizer_config_and_generation_config(model, tokenizer):
    model.generation_config.eos_token_id = [1, 7]
    model.config.eos_token_id = 9
    assert end_ids(tokenizer, model.config, model.generation_config) == [1, 7, 9]


def test_each_batch_is_handed_over(model, tokenizer):
    seen = []
    decoding = Decoding(max_new_tokens=2)
    sample(model, tokenizer, ids_of(tokenizer), decoding, Batches(2, keep=seen.append))
    assert [len(batch) for batch in seen] == [2, 2, 1]
    assert sorted(row for batch in seen for row in batch) == list(range(5))


def test_a_batch_has_as_many_rows_as_memory_is_set_aside_for(tokenizer, monkeypatch):
    model, seen = random_model("llama"), []
    batches = Batches(keep=lambda some: seen.append(len(some)))
    values = 2 * 2 * 2 * 16 * (3 + 1)  # keys and values, layers, heads, head_dim, tokens
    row_bytes = 4 * values + 32 * 40  # float32; probabilities of 40 tokens
    for rows, room in ((520, 2**30), (220, 100 * row_bytes), (3, 1)):
        monkeypatch.setattr("lenrl.generation.sampling.CACHE_BYTES_CPU", room)
        sample(model, tokenizer, [[5, 6, 7]] * rows, greedy(1), batches)
    assert seen == [512, 8, 100, 100, 20, 1, 1, 1]


def test_a_broken_model_is_refused(model, tokenizer):
    torch.nn.init.constant_(model.model.norm.weight, float("nan"))
    with pytest.raises(RunFailed, match="NaN"):
        sample(model, tokenizer, ids_of(tokenizer), greedy(3))


@pytest.mark.parametrize(
    "options", [{"max_new_tokens": 0}, {"temperature": 1e-39}, {"top_p": 0.0}, {"top_k": -1}, {"samples": 0}]
)
def test_options_out_of_range(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Decoding(**options)


def test_empty_prompts(model, tokenizer):
    assert sample(model, tokenizer, [], Decoding()) == []
    with pytest.raises(ValueError, match="prompt 1"):
        sample(model, tokenizer, [[5], []], Decoding())
