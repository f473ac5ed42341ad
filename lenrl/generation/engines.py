"""What samples an evaluation's completions: transformers here, vLLM here, or a server.

Each engine has what `Engine` names. All are given token ids, so that the prompt is the same one everywhere, and the
fingerprint says which engine it was: figures of different engines are not compared without a word.
"""

from __future__ import annotations

from typing import Any

from lenrl.errors import BadInput
from lenrl.generation.base import Engine

ENGINES = ("transformers", "vllm", "server")


def opened(engine: str, name: str, server_url: str | None, **options: Any) -> Engine:
    """The model on an engine.

    Args:
        engine: one of ENGINES.
        name: see `lenrl.generation.names.find`; for a server, what it calls the model.
        server_url: of an OpenAI-compatible server, e.g. http://localhost:8000/v1.
        options: of `lenrl.generation.transformers_engine.load`.

    Raises:
        BadInput: no such engine or model, a package is missing, or the server does not answer.
    """
    if engine not in ENGINES:
        raise BadInput(f"engine={engine!r} is unknown; there are {', '.join(ENGINES)}")
    if (server_url is not None) != (engine == "server"):
        raise BadInput(
            f"engine={engine} and server_url={server_url}: engine=server needs a server_url, no other does"
        )
    if engine == "server":
        from lenrl.generation import openai_engine as server

        return server.connect(name, str(server_url), **options)
    if engine == "vllm":
        from lenrl.generation import vllm_engine as offline

        return offline.load(name, **options)
    from lenrl.generation import transformers_engine as models

    return models.load(name, **options)
