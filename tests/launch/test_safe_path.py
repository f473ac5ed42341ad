"""Modules that lie in the working directory are imported by no process of ours."""

import os
import subprocess
import sys

from lenrl.launch.command import command
from lenrl.launch.supervise import supervise
from tests.launch.fakes import environment

VERIFIES = """
from lenrl.verify.pool import Claim, Verifier
from lenrl.verify.settings import VerifierSettings
if __name__ == "__main__":
    with Verifier(VerifierSettings(workers=1)) as verifier:
        assert verifier.verify([Claim("\\\\boxed{2x}", "x+x")])[0].correct
"""


def test_supervisor_and_ranks_import_nothing_from_the_working_directory(trapped):
    rank = [sys.executable, "-m", "lenrl.launch.lifeline"]  # as accelerate starts its own: it imports psutil
    assert supervise(rank, env=environment()) == 0
    assert not (trapped / "sprung").exists()
    assert command(trapped)[1:4] == ["-P", "-m", "lenrl.launch.launcher"]


def test_workers_of_the_verifier_import_nothing_from_the_working_directory(trapped, tmp_path):
    script = tmp_path / "verifies.py"  # a script's own folder may be on the path, as a console script's is
    script.write_text(VERIFIES)
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    subprocess.run([sys.executable, str(script)], check=True, timeout=120, env=clean)
    assert not (trapped / "sprung").exists()
