"""scripts/soak.py, its short form: a run that suffers ends as one that does not, and what grows is found."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


@pytest.fixture
def leg(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import soak_leg

    leg = object.__new__(soak_leg.Leg)  # of no process: its samples are made up
    leg.samples = []
    yield leg
    sys.modules.pop("soak_leg")


def samples(count, **slopes):
    return [{name: 10 + slope * second for name, slope in slopes.items()} for second in range(count)]


def test_what_grows_is_found_and_what_swings_is_not(leg):
    leg.samples = samples(100, rank_mib=1.0, children_mib=0.0, files=0.0, threads=0.0)
    assert leg.growth() == {"rank_mib": 50.0, "children_mib": 0.0, "files": 0.0, "threads": 0.0}
    assert leg.grown() == ["rank_mib grew by 50"]
    leg.samples = [{**sample, "files": 10 + number % 2} for number, sample in enumerate(leg.samples)]
    assert leg.growth()["files"] == 0.0
    leg.samples = leg.samples[:20]
    assert leg.growth() == {} and leg.grown() == [], "too short to say"


@pytest.mark.slow
@pytest.mark.long
def test_a_short_soak_ends_as_the_calm_run(tmp_path):
    line = [sys.executable, str(SCRIPTS / "soak.py"), "--steps", "36", "--every", "12"]
    line += ["--faults", "workers", "sigterm", "--out", str(tmp_path / "soak")]
    done = subprocess.run(line, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "soak" / "soak.json").read_text())
    assert found["calm"]["legs"] == 1 and found["faulty"]["legs"] == 2
    assert found["faulty"]["faults"] == {"workers": 1, "sigterm": 1}
    assert found["calm"]["outcome"] == found["faulty"]["outcome"] and found["problems"] == []
