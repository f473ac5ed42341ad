"""An OpenAI-compatible server as engine: vLLM, SGLang, llama.cpp and others, here or far away.

Prompts go as token ids to `/completions`, so that they are the same as anywhere. vLLM sends token ids back; of servers
that do not, the text is encoded again, which can miss the true length by a token or so, and the fingerprint says it.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from typing import Any, TypeVar

import httpx
from pebble import ThreadPool

from lenrl.errors import BadInput, RunFailed
from lenrl.generation.base import TOP, Completion, Decoding, Stage
from lenrl.generation.external import ExternalEngine, Request
from lenrl.generation.pretrained import ModelOptions, TokenizerInfo, load_tokenizer_info
from lenrl.redact import printable

K = TypeVar("K")
R = TypeVar("R")

KEY = "OPENAI_API_KEY"  # environment variable
CONCURRENCY = 16  # requests under way
TRIES = 6  # of a request, with waits of 1, 2, 4, ... s between them
SECONDS = 3600.0  # that an answer may take
BUSY = (408, 429, 500, 502, 503, 504)


class OpenAIEngine(ExternalEngine):
    """A model on a server."""

    def __init__(
        self, name: str, info: TokenizerInfo, client: httpx.Client, first_wait_s: float = 1.0
    ) -> None:
        super().__init__(name, info)
        self._client = client
        self._first_wait_s = first_wait_s
        # It takes fields apart from OpenAI's own; token ids come back.
        self._extended, self._ids_back = self._probe()

    def identity(self) -> dict[str, str]:
        """Address and name; how lengths are counted."""
        lengths = "token ids" if self._ids_back else "text encoded again"
        return {"engine": f"server {self._client.base_url}", "served": self.name, "lengths": lengths}

    def weights(self) -> str:
        """The server's name for them: it says no more."""
        return self.name

    def completed(
        self, requests: Sequence[Request], decoding: Decoding, batch_size: int | None
    ) -> Iterator[dict[int, Completion]]:
        """See `ExternalEngine`; `batch_size` requests are under way at a time.

        Raises:
            RunFailed: the server refuses a request, or does not answer after several tries.
        """
        if decoding.top_k and not decoding.greedy and not self._extended:
            raise BadInput(f"{self._client.base_url} knows no top_k; leave it out")
        asked = {request.row: (request, decoding) for request in requests}
        for row, completion in side_by_side(self._complete, asked, batch_size or CONCURRENCY):
            yield {row: completion}

    def _complete(self, request: Request, decoding: Decoding) -> Completion:
        stage = request.stage
        greedy = decoding.greedy or (stage is not None and stage.greedy)
        body: dict[str, Any] = {
            "max_tokens": request.most,
            "temperature": 0.0 if greedy else decoding.temperature,
            "top_p": 1.0 if greedy else decoding.top_p,
            "seed": request.seed,
        }
        if self._extended:
            body["top_k"] = decoding.top_k if decoding.top_k and not greedy else -1
        if request.logps:
            body["logprobs"] = 0
        if stage is not None:
            body["stop_token_ids"] = sorted(stage.stops)
            body |= {"min_tokens": 1} if stage.goes_on else {}
            if stage.margin_of is not None:
                body |= {"logprobs": TOP, "return_tokens_as_token_ids": True}
            body |= {"logit_bias": {str(token): nats for token, nats in [stage.bias]}} if stage.bias else {}
        answer = self._post(request.prompt, body)
        if answer.status_code != 200:
            raise RunFailed(f"{self._client.base_url} refuses a request: {said(answer)}")
        return self._read(answer, request.most, stage, logps=request.logps)

    def no_stages(self) -> str | None:
        """See `Engine`: stops are vLLM's field, and token ids must come back."""
        if self._extended and self._ids_back:
            return None
        return f"{self._client.base_url} sends no token ids or knows no stop_token_ids, as vLLM's server does"

    def no_logps(self) -> str | None:
        return None if self._ids_back else f"{self._client.base_url} sends no token ids"

    def _read(
        self, answer: httpx.Response, cap: int, stage: Stage | None = None, *, logps: bool = False
    ) -> Completion:
        try:
            choice = answer.json()["choices"][0]
            text, truncated = str(choice["text"]), choice["finish_reason"] == "length"
            ids = choice.get("token_ids")
            ids = None if ids is None else [int(token) for token in ids]
            margin = None if stage is None else _margin(stage, choice)
            known = [float(logp) for logp in choice["logprobs"]["token_logprobs"]] if logps else None
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as fault:
            raise RunFailed(f"{self._client.base_url} sent no completion: {said(answer)}") from fault
        if ids is None:
            ids = self.info.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        ends = {*self.info.eos_ids, *(stage.stops if stage else ())}
        if not truncated and self.info.eos_ids and (not ids or ids[-1] not in ends):
            ids = [*ids, self.info.eos_ids[0]]  # a completion ends with it
        return Completion(ids[:cap], truncated, known, margin=margin)

    def _post(self, ids: list[int], body: Mapping[str, Any]) -> httpx.Response:
        extra = {"return_token_ids": True, "add_special_tokens": False} if self._extended else {}
        request = {"model": self.name, "prompt": ids, **body, **extra}
        return post(self._client, "completions", request, self._first_wait_s)

    def _probe(self) -> tuple[bool, bool]:
        """Two facts of the server: it takes fields that vLLM adds to OpenAI's; token ids come back."""
        ids = self.info.tokenizer("1", add_special_tokens=False)["input_ids"] or [self.info.eos_ids[0]]
        for self._extended in (True, False):
            try:
                answer = self._post(list(ids), {"max_tokens": 1, "temperature": 0.0})
            except RunFailed as fault:
                raise BadInput(f"server_url={self._client.base_url}: {fault}") from None
            if answer.status_code == 200:
                self._read(answer, 1)
                return self._extended, answer.json()["choices"][0].get("token_ids") is not None
            if answer.status_code not in (400, 422):
                break
        raise BadInput(f"server_url={self._client.base_url} does not serve {self.name!r}: {said(answer)}")


def connect(name: str, url: str, options: ModelOptions, *, first_wait_s: float = 1.0) -> OpenAIEngine:
    """A model on a server.

    Args:
        name: what the server calls it; its tokenizer is read from there, or from `options.tokenizer`.
        url: with the version, e.g. http://localhost:8000/v1.
        options: `device` and `dtype` are the server's business and refused.
        first_wait_s: before a request is tried again, seconds; doubles with each try.

    Raises:
        BadInput: a wrong address, no tokenizer, or the server does not serve the model.
    """
    if options.device or options.dtype:
        raise BadInput("device and dtype are the server's business: leave them out with engine=server")
    client = client_of(url, "server_url", os.environ.get(KEY))
    return OpenAIEngine(name, load_tokenizer_info(name, options), client, first_wait_s)


def client_of(url: str, option: str, key: str | None) -> httpx.Client:
    """A client of a server whose address an option gave.

    Raises:
        BadInput: it is no address, or the key is none that a header can hold.
    """
    key = (key or "").strip()  # a line's end in it would be an error whose message shows the key
    if not key.isascii() or not key.isprintable():
        raise BadInput(f"the API key for {option} holds characters that no key has; set it again")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        if not url.startswith(("http://", "https://")):
            raise httpx.InvalidURL("no http")
        return httpx.Client(base_url=url, timeout=SECONDS, headers=headers)
    except httpx.InvalidURL as fault:
        raise BadInput(
            f"{option}={url!r} is no address ({fault}); give one like http://localhost:8000/v1"
        ) from None


def post(
    client: httpx.Client, path: str, request: Mapping[str, Any], first_wait_s: float = 1.0
) -> httpx.Response:
    """The answer; tried again where the server is busy or does not answer.

    Raises:
        RunFailed: not after several tries either.
    """
    for attempt in range(TRIES):
        if attempt:
            time.sleep(first_wait_s * 2 ** (attempt - 1))
        try:
            answer = client.post(path, json=request)
        except httpx.RequestError as fault:
            message = f"{type(fault).__name__}: {fault}"
            continue
        if answer.status_code not in BUSY:
            return answer
        message = said(answer)
    raise RunFailed(
        f"{client.base_url} does not answer after {TRIES} tries ({printable(message, 1000)}). What was "
        "sampled is kept: the same command continues."
    )


def side_by_side(
    call: Callable[..., R], asked: Mapping[K, tuple[Any, ...]], most: int
) -> Iterator[tuple[K, R]]:
    """Keys with what the call gave for their arguments, as they come, `most` at a time."""
    pool = ThreadPool(max_workers=most)  # whose threads do not outlive the process
    try:
        keys = {pool.schedule(call, args=arguments): key for key, arguments in asked.items()}
        for answer in as_completed(keys):
            yield keys[answer], answer.result()
        pool.close()
        pool.join()
    finally:
        pool.stop()  # without waiting for a request that hangs


def _margin(stage: Stage, choice: Mapping[str, Any]) -> float | None:
    """The stage's margin, where it was asked for, of log-probs by `token_id:5`."""
    if stage.margin_of is None:
        return None
    logps = {str(token): float(logp) for token, logp in choice["logprobs"]["top_logprobs"][0].items()}
    return max(logps.values()) - logps.get(f"token_id:{stage.margin_of}", float("-inf"))


def said(answer: httpx.Response) -> str:
    """Status and text, shortened."""
    return printable(f"{answer.status_code} {answer.text.strip()}", 300)
