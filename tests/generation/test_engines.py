"""Evaluations by a server against those of transformers; what servers do wrong; vLLM as far as it goes without it."""

import json
import shutil
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import MappingProxyType, ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from lenrl.errors import BadInput, RunFailed, validated
from lenrl.evaluation.evaluate import evaluate
from lenrl.evaluation.fingerprint import differences
from lenrl.evaluation.settings import EvalSettings
from lenrl.generation import openai_engine as server
from lenrl.generation import vllm_engine as offline
from lenrl.generation.base import Batches, Completion, Decoding, Stage
from lenrl.generation.choice import GoesOn, TokenRule
from lenrl.generation.decoder import PromptRow
from lenrl.generation.engines import load_engine
from lenrl.generation.pretrained import TINY, ModelOptions, load_tokenizer_info
from lenrl.generation.sampling import sample_rows
from lenrl.generation.transformers_engine import load
from lenrl.generation.weight_names import weights_name

GREEDY = Decoding(name="greedy", max_new_tokens=50)
TASK = {"name": "chain", "test": 12}
HANG_S = 100.0
ROOT = Path(__file__).parents[2]
SECRET = "sk-0123456789abcdef"


class Fake(ThreadingHTTPServer):
    """The protocol over the tiny model: greedy whatever it is asked, one request at a time."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.model = load("tiny")
        self.lock = threading.Lock()
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.faults: list[Any] = []  # of the next requests: a status, or "drop"
        self.extended = True  # knows vLLM's fields
        self.always: int | None = None
        self.hang = False  # once there are no faults left

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Fake

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        own = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if own.hang and not own.faults:
            time.sleep(HANG_S)
        with own.lock:
            own.keys.append(self.headers.get("Authorization"))
            own.asked.append(body)
            fault = own.always or (own.faults.pop(0) if own.faults else None)
            if fault == "drop":
                self.connection.close()
                return
            if fault is None and not own.extended and "return_token_ids" in body:
                fault = 400
            if fault == "garbled":
                self.answer(200, {}, {"Content-Encoding": "gzip"})
                return
            if fault is not None:
                self.answer(fault, {"error": f"fault {fault}"})
                return
            loaded = own.model
            found = answered(loaded, body)
        stop = not found.truncated
        choice: dict[str, Any] = {
            "text": loaded.info.tokenizer.decode(found.ids[:-1] if stop else found.ids),
            "finish_reason": "stop" if stop else "length",
        }
        choice["token_ids"] = found.ids if own.extended else None
        if "logprobs" in body:
            choice["logprobs"] = {"token_logprobs": found.logps}
        if body.get("logprobs"):
            logits_V = loaded.model(torch.tensor([body["prompt"]])).logits[0, -1]
            values, ids = logits_V.log_softmax(-1).topk(body["logprobs"])
            top = {
                f"token_id:{token}": logp for token, logp in zip(ids.tolist(), values.tolist(), strict=True)
            }
            choice["logprobs"]["top_logprobs"] = [top]
        self.answer(200, {"choices": [choice]})

    def answer(self, status: int, content: Any, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def answered(loaded, body):
    """The greedy completion of a request, with the fields of vLLM's server for stages."""
    bias = {int(token): nats for token, nats in body.get("logit_bias", {}).items()}

    def shaped():
        def change(_, scores):
            scores = scores.clone()
            for token, nats in bias.items():
                scores[:, token] += nats
            return scores

        return change

    row = PromptRow(body["prompt"], body["max_tokens"], 0)
    ends = {*loaded.info.eos_ids, *body.get("stop_token_ids", ())}
    control = (lambda: GoesOn(ends)) if body.get("min_tokens") else shaped
    rule = TokenRule(greedy=True, control=control)
    (found,) = sample_rows(loaded.model, [row], rule, ends, Batches(), logps="logprobs" in body)
    return found


@pytest.fixture
def fake():
    found = Fake()
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    yield found
    found.shutdown()
    found.server_close()


def connect(fake, **options):
    return server.connect("served", fake.url, ModelOptions(tokenizer=str(TINY), **options), first_wait_s=0.01)


def ask(engine, prompts, decoding=GREEDY, done=None):
    kept: dict[int, Completion] = {}
    found = engine.sample(prompts, decoding, Batches(done=done or {}, keep=kept.update))
    return found, kept


def prompts_of(loaded, texts=("3+4*2", "9*2", "7*4+8")):
    return [loaded.info.tokenizer(text)["input_ids"] for text in texts]


@pytest.mark.parametrize("extended", [True, False])
def test_a_server_gives_the_figures_that_transformers_gives(fake, extended, tmp_path):
    fake.extended = extended
    options: dict[str, Any] = {"greedy": True, "max_new_tokens": 60, "tokenizer": str(TINY)}
    (here,) = evaluate(["tiny"], TASK, EvalSettings(**options))["models"]
    served = EvalSettings(engine="server", server_url=fake.url, **options)
    (there,) = evaluate(["tiny"], TASK, served, out_dir=tmp_path)["models"]
    for key in ("accuracy", "tokens_mean", "tokens_p95", "truncated_share", "tokens_correct"):
        assert there[key] == here[key], key
    said = differences(here["fingerprint"], there["fingerprint"])
    assert any("engine" in line for line in said), "figures of two engines are not taken for alike"
    lengths = there["fingerprint"]["lengths"]
    assert lengths == ("token ids" if extended else "text encoded again")
    count = len(fake.asked)
    again = evaluate(["tiny"], TASK, served, out_dir=tmp_path)
    assert again["models"][0]["resumed"] == 12 and len(fake.asked) == count + (1 if extended else 2)


@pytest.mark.parametrize(
    ("controls", "at"),
    [
        (("force@8", "force@16", "wait@1", "exit@0.5", "stop@2", "nothink"), "any"),
        (("stop@2", "brake@5"), "step"),
    ],
)
def test_controls_in_stages_on_a_server_are_those_of_transformers(fake, controls, at):
    words = {"at": at}
    if at == "any":
        words |= {"answer": "\n\\boxed{", "trial": "\\boxed{", "text": ""}
    options: dict[str, Any] = {"greedy": True, "max_new_tokens": 120, "tokenizer": str(TINY)}
    options |= {"controls": controls, "control": words}
    task = {"name": "chain", "test": 5}
    here = evaluate(["tiny"], task, EvalSettings(**options))["models"]
    served = EvalSettings(engine="server", server_url=fake.url, **options)
    there = evaluate(["tiny"], task, served)["models"]
    for one, other in zip(here, there, strict=True):
        for key in ("control", "accuracy", "tokens_mean", "tokens_kept_mean", "truncated_share"):
            assert other[key] == one[key], (one["control"], key)
    assert len({entry["tokens_mean"] for entry in here}) == len(here), "each control does something"


@pytest.mark.parametrize(
    ("extended", "control", "words"),
    [
        (True, ("brake@1", {"at": "any"}), "once a token"),
        (True, ("stop@1", {"by": "scale"}), "control.by=bias"),
        (False, ("force@8", {}), "stop_token_ids"),
        (False, ("brake@1", {}), "stop_token_ids"),
    ],
)
def test_controls_that_a_server_can_not_do_are_refused_before_anything_is_sampled(
    fake, extended, control, words
):
    fake.extended = extended
    label, options = control
    settings = EvalSettings(
        engine="server",
        server_url=fake.url,
        tokenizer=str(TINY),
        max_new_tokens=60,
        controls=(label,),
        control=options,
    )
    with pytest.raises(BadInput, match=words):
        evaluate(["tiny"], TASK, settings)
    assert len(fake.asked) <= 2, "those of the probe"


def test_prompts_are_token_ids_and_the_decoding_is_said(fake):
    engine = connect(fake)
    decoding = Decoding(samples=2, temperature=0.7, top_p=0.9, top_k=5, max_new_tokens=7, seed=3)
    prompts = prompts_of(fake.model, ["1+1", "1+1"])
    fake.asked.clear()
    ask(engine, prompts, decoding)
    for body in fake.asked:
        assert body["prompt"] == prompts[0] and body["max_tokens"] == 7
        assert (body["temperature"], body["top_p"], body["top_k"]) == (0.7, 0.9, 5)
    assert len({body["seed"] for body in fake.asked}) == 2, "two samples of a prompt are two draws"


def test_what_passes_is_tried_again(fake):
    engine = connect(fake)
    prompts = prompts_of(fake.model)
    expected, _ = ask(engine, prompts)
    fake.faults = [429, "drop", "garbled", 500]
    assert ask(engine, prompts)[0] == expected


def test_what_is_done_is_not_asked_for(fake):
    engine = connect(fake)
    prompts = prompts_of(fake.model)
    known = {1: Completion([5, 1], False)}
    fake.asked.clear()
    found, kept = ask(engine, prompts, done=known)
    assert found[1] == known[1] and sorted(kept) == [0, 2] and len(fake.asked) == 2


def test_a_server_that_stays_busy_ends_it_and_keeps_what_came(fake, monkeypatch):
    engine = connect(fake)
    fake.always = 503
    with pytest.raises(RunFailed, match="503.*the same command continues"):
        ask(engine, prompts_of(fake.model))


def test_no_thread_stays_when_all_were_answered(fake):
    engine = connect(fake)
    before = set(threading.enumerate())
    ask(engine, prompts_of(engine))
    stacks = {
        thread: sys._current_frames().get(thread.ident) for thread in set(threading.enumerate()) - before
    }
    code = [
        frame.f_code.co_filename for top in stacks.values() if top for frame, _ in traceback.walk_stack(top)
    ]
    assert not [file for file in code if "pebble" in file]


def test_a_refusal_ends_it(fake):
    engine = connect(fake)
    fake.always = 400
    with pytest.raises(RunFailed, match="refuses a request: 400"):
        ask(engine, prompts_of(fake.model))


def test_an_evaluation_that_ends_does_not_wait_for_a_request_that_hangs(tmp_path):
    script = """
import threading, time
from tests.generation.test_engines import Fake, GREEDY, ask, connect, prompts_of
fake = Fake()
threading.Thread(target=fake.serve_forever, daemon=True).start()
engine = connect(fake)
fake.hang, fake.faults = True, [400]
ask(engine, prompts_of(fake.model))
"""
    began = time.monotonic()
    line = [sys.executable, "-c", script]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT)
    assert "refuses a request: 400" in done.stderr and time.monotonic() - began < HANG_S


def test_the_key_is_sent_and_never_said(fake, monkeypatch):
    monkeypatch.setenv(server.KEY, f"{SECRET}\n")  # as of a file; httpx would show it in an error
    engine = connect(fake)
    assert fake.keys[-1] == f"Bearer {SECRET}"
    assert SECRET not in json.dumps(engine.identity())
    fake.always = 401
    with pytest.raises(BadInput, match="401") as fault:
        connect(fake)
    assert SECRET not in str(fault.value)
    monkeypatch.setenv(server.KEY, f"{SECRET}é")
    with pytest.raises(BadInput, match="characters that no key has") as fault:
        connect(fake)
    assert SECRET not in str(fault.value)


@pytest.mark.parametrize("url", ["localhost:8000", "http://localhost:port/v1"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(BadInput, match="server_url=.*is no address"):
        server.client_of(url, "server_url", None)


def test_nothing_is_sampled_with_another_decoding_than_was_asked(fake):
    fake.extended = False
    engine = connect(fake)
    with pytest.raises(BadInput, match="no top_k"):
        ask(engine, prompts_of(fake.model), Decoding(top_k=5, max_new_tokens=5))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"engine": "sglang"}, "engine='sglang': should be 'transformers', 'vllm' or 'server'"),
        ({"engine": "server"}, "needs a server_url"),
        ({"engine": "transformers", "server_url": "http://localhost:1"}, "no other does"),
        ({"engine": "server", "server_url": "localhost:8000"}, "no address"),
        (
            {"engine": "server", "server_url": "http://localhost:1/v1", "dtype": "float32"},
            "server's business",
        ),
        ({"engine": "vllm"}, "needs vLLM"),
    ],
)
def test_refusals(options, words):
    with pytest.raises(BadInput, match=words):
        load_engine("tiny", validated(EvalSettings, options))


def test_no_server_at_the_address(monkeypatch):
    monkeypatch.setattr(server, "TRIES", 2)
    with pytest.raises(BadInput, match="does not answer after 2 tries"):
        server.connect("tiny", "http://127.0.0.1:9/v1", ModelOptions(), first_wait_s=0.01)


def test_how_vllm_is_called(monkeypatch):
    """The shape of the calls; scripts/test_vllm runs the real one."""
    calls: list[Any] = []

    class LLM:
        def generate(self, prompts, params, use_tqdm):
            calls.append((prompts, params))
            reasons = ["length", "stop"]
            return [
                SimpleNamespace(outputs=[SimpleNamespace(token_ids=(7, 1), finish_reason=reasons[i % 2])])
                for i in range(len(prompts))
            ]

    module = ModuleType("vllm")
    module.SamplingParams = lambda **given: given  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "vllm", module)
    info = load_tokenizer_info("tiny", ModelOptions())
    engine = offline.VllmEngine("tiny", info, LLM(), "float32", "aa")
    decoding = Decoding(temperature=0.6, top_p=0.9, max_new_tokens=2, seed=1)
    found = engine.sample([[3], [4], [5]], decoding, Batches(2, done={1: Completion([9], False)}))
    assert found == [Completion([7, 1], True), Completion([9], False), Completion([7, 1], False)]
    (prompts, params), *rest = calls
    assert prompts == [{"prompt_token_ids": [3]}, {"prompt_token_ids": [5]}] and not rest
    assert params[0]["top_k"] == -1 and params[0]["stop_token_ids"] == engine.info.eos_ids
    assert params[0]["seed"] != params[1]["seed"]


def test_what_vllm_sampled_is_not_taken_for_another_models(monkeypatch, tmp_path):
    answer = SimpleNamespace(token_ids=(7, 1), finish_reason="stop")
    llm = SimpleNamespace(
        generate=lambda prompts, *_, **__: [SimpleNamespace(outputs=[answer])] * len(prompts)
    )
    module = ModuleType("vllm")
    module.__dict__.update(SamplingParams=dict, LLM=lambda **given: llm, __spec__=ModuleSpec("vllm", None))
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setattr(offline, "version", lambda name: "1")
    folder = tmp_path / "model"
    shutil.copytree(TINY, folder)
    settings = EvalSettings(engine="vllm", greedy=True, max_new_tokens=2)

    def resumed():
        found = evaluate([str(folder)], TASK, settings, out_dir=tmp_path / "out", replace_other=True)
        return found["models"][0]["resumed"]

    assert [resumed(), resumed()] == [0, 12]
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert [resumed(), resumed()] == [0, 12]
    with pytest.raises(BadInput, match='weights "[0-9a-f]{12}" against'):
        evaluate([str(TINY)], TASK, settings, out_dir=tmp_path / "out")
    (folder / "config.json").write_text((folder / "config.json").read_text().replace("10000.0", "20000.0"))
    assert resumed() == 0


def test_a_hub_models_weights_have_the_name_of_their_commit(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert weights_name("org/model", "v2") == "org/model@v2" and weights_name("org/model") == "org/model@main"
    commit, kept = "ab" * 20, tmp_path / "models--org--model"
    (kept / "snapshots" / commit).mkdir(parents=True)
    (kept / "snapshots" / commit / "config.json").write_text("{}")
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text(commit)
    assert weights_name("org/model") == f"org/model@{commit}"


def test_how_vllm_is_asked_for_a_stage(monkeypatch):
    calls: list[Any] = []

    class LLM:
        def generate(self, prompts, params, use_tqdm):
            calls.append((prompts, params))
            logprobs = [{7: SimpleNamespace(logprob=-0.5)}, {9: SimpleNamespace(logprob=-1.0)}]
            answer = SimpleNamespace(token_ids=(7, 9), finish_reason="stop", logprobs=logprobs)
            return [SimpleNamespace(outputs=[answer])]

    module = ModuleType("vllm")
    module.SamplingParams = lambda **given: given  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", module)
    engine = offline.VllmEngine("tiny", load_tokenizer_info("tiny", ModelOptions()), LLM(), "float32", "aa")
    asked = {"goes_on": True, "greedy": True, "logps": True, "bias": (9, 2.0), "prompt": [3], "key": 11}
    stage = Stage([5, 6], 20, frozenset({9}), **asked)
    found = engine.extend([stage], Decoding(temperature=0.6), None)
    assert found == [Completion([7, 9], False, [-0.5, -1.0])]
    ((prompts, (params,)),) = calls
    assert prompts == [{"prompt_token_ids": [3, 5, 6]}]
    assert params["stop_token_ids"] == [1, 9] and params["max_tokens"] == 20 and params["min_tokens"] == 1
    assert (params["temperature"], params["logprobs"], params["logit_bias"]) == (0.0, 0, {9: 2.0})
