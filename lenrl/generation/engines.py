"""Engines by name: transformers here, vLLM here, or a server.

All are given token ids, so that the prompt is the same one everywhere, and the fingerprint says which engine it was:
figures of different engines are not compared without a word.
"""

from typing import Literal

from lenrl.errors import BadInput
from lenrl.generation.base import Engine
from lenrl.generation.pretrained import ModelOptions


class EngineOptions(ModelOptions):
    """Kind of engine, and options of loading a model there."""

    engine: Literal["transformers", "vllm", "server"] = "transformers"
    server_url: str | None = None  # of an OpenAI-compatible server, e.g. http://localhost:8000/v1


def load_engine(name: str, options: EngineOptions) -> Engine:
    """A model on its engine; the name is one for `find`, or what the server calls the model.

    Raises:
        BadInput: no such model, a package is missing, or the server does not answer.
    """
    engine, url = options.engine, options.server_url
    if (url is not None) != (engine == "server"):
        raise BadInput(
            f"engine={engine} and server_url={url}: engine=server needs a server_url, no other does"
        )
    if url is not None:
        from lenrl.generation import openai_engine

        return openai_engine.connect(name, url, options)
    if engine == "vllm":
        from lenrl.generation import vllm_engine

        return vllm_engine.load(name, options)
    from lenrl.generation import transformers_engine

    return transformers_engine.load(name, options)
