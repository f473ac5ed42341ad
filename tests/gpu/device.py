"""Where the tests of this folder run: on a GPU, or, to try the tests themselves, on the CPU (`REHEARSE=1`)."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lenrl.config import compose
from tests.training.runs import SMALL

ROOT = Path(__file__).parents[2]
CUDA = torch.cuda.is_available()
DEVICE, LAUNCH = ("cuda", "single_gpu") if CUDA else ("cpu", "cpu")
LAUNCHES = {
    "single_gpu": "Qwen3ForCausalLM",
    "multi_gpu": "Qwen3ForCausalLM|DistributedDataParallel",
    "zero2": "DeepSpeedEngine",
    "zero3": "DeepSpeedEngine",
    "fsdp2": "FSDP.+",
}
"""What the model of a launch with one process is wrapped in."""

marks = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(not CUDA and not os.environ.get("REHEARSE"), reason="no CUDA device"),
]


def accelerated(worker: str, out: Path, *arguments: str, name: str = LAUNCH, precision: str = "no") -> None:
    """A real `accelerate launch` of a worker under tests/, one process."""
    given = [] if name == "cpu" else ["launch.num_processes=1", f"launch.mixed_precision={precision}"]
    out.mkdir(parents=True, exist_ok=True)
    file = out / f"{name}-{precision}.yaml"
    file.write_text(yaml.safe_dump(dict(compose("grpo", [f"launch={name}", *given]).launch)))
    ended(
        [
            *(sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(file)),
            *(str(ROOT / "tests" / worker), str(out), *arguments),
        ]
    )


def lenrl(verb: str, *words: str) -> str:
    """Standard output of a verb, which must end well."""
    return ended([sys.executable, "-m", "lenrl.cli", verb, *words])


def trained(recipe: str, out: Path, *overrides: str) -> None:
    """A small run on this device by `lenrl train`."""
    lenrl("train", recipe, f"launch={LAUNCH}", *SMALL, f"output_dir={out}", *overrides)


def ended(line: list[str]) -> str:
    env = os.environ | {"PYTHONPATH": str(ROOT), "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        line,
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{done.stdout[-1500:]}\n{done.stderr[-3000:]}"
    return done.stdout


def found(path: Path) -> Any:
    return json.loads(path.read_text())
