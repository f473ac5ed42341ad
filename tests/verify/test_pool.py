"""Processes: limits hit only the guilty claim, order and pool survive, nothing is executed or left behind."""

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from lenrl.errors import BadInput
from lenrl.verify import pool as pool_module
from lenrl.verify.kinds import Math
from lenrl.verify.limits import Limits
from lenrl.verify.pool import Claim, Verifier
from lenrl.verify.settings import VerifierSettings
from tests.verify import hogs

ROOT = str(Path(__file__).parents[2])
SLOW = r"\int_0^{1000} \sin(x^{3}+\cos(x^2)) dx"  # short and shallow, but far beyond any time
SYMBOLIC = r"\\".join("&".join(f"x_{{{i}{j}}}+{i}" for j in range(9)) for i in range(9))


@pytest.fixture(scope="module")
def verifier():
    sys.path.insert(0, ROOT)  # the workers import `tests.verify.hogs`
    with Verifier(VerifierSettings(timeout_s=0.5)) as shared:
        yield shared
    sys.path.remove(ROOT)


def one(verifier, answer, gold):
    return verifier.verify([Claim(rf"\boxed{{{answer}}}", gold)])[0]


def test_order_is_kept(verifier):
    claims = [Claim(rf"\boxed{{x+{i}}}", f"{i % 7}+x" if i % 3 else f"{i}+x") for i in range(60)]
    verdicts = verifier.verify(claims)
    assert [v.correct for v in verdicts] == [i % 3 == 0 or i < 7 for i in range(60)]
    assert [v.answer for v in verdicts] == [f"x+{i}" for i in range(60)]


def test_no_claims_no_verdicts(verifier):
    assert verifier.verify([]) == [] == verifier.readable([])


def test_a_slow_answer_is_wrong_and_counted_and_its_neighbours_are_judged(verifier):
    before = verifier.counts["timeouts"]
    claims = [Claim(rf"\boxed{{x+{i}}}", f"{i}+x") for i in range(20)]
    claims.insert(7, Claim(rf"\boxed{{{SLOW}}}", r"\int_0^1 x dx"))
    start = time.monotonic()
    verdicts = verifier.verify(claims)
    assert time.monotonic() - start < 15
    guilty = verdicts.pop(7)
    assert (guilty.correct, guilty.outcome) == (False, "timeout")
    assert all(v.correct for v in verdicts)
    assert verifier.counts["timeouts"] == before + 1


def test_a_gold_answer_that_overruns_is_unknown(verifier):
    slow = rf"\begin{{vmatrix}}{SYMBOLIC}\end{{vmatrix}}"
    for gold in (slow, "10^{10^{10}}", "7" * 30_000, r"\frac{1}{"):
        verdict = one(verifier, "7", gold)
        assert (verdict.correct, verdict.outcome) == (None, "abstained")
    assert verifier.readable([slow, r"\frac{1}{2}", None, "", "B"]) == [False, True, False, False, True]


@pytest.mark.parametrize(
    ("work", "outcome"),
    [
        (hogs.hold_the_lock, "timeout"),
        (hogs.sleep, "timeout"),
        (hogs.exit_abruptly, "error"),
        (hogs.abort, "memory"),
        (hogs.allocate, "memory"),
    ],
)
def test_only_the_guilty_item_suffers_and_the_pool_goes_on(verifier, work, outcome):
    items = [*"abcdef", "guilty", *"ghij"]
    start = time.monotonic()
    found = verifier._in_chunks(items, work, lambda item, how: how)
    assert time.monotonic() - start < 20
    assert found == {item: outcome if item == "guilty" else f"judged {item}" for item in items}
    assert one(verifier, "2x", "x+x").correct


def test_the_rest_of_a_chunk_cut_short_is_sent_again(verifier):
    found = verifier._in_chunks(list("abcdefgh"), hogs.one_at_a_time, lambda item, how: how)
    assert found == {item: f"judged {item}" for item in "abcdefgh"}


def test_a_claim_that_crashes_its_worker_is_unknown_and_counted(verifier, monkeypatch):
    monkeypatch.setattr(pool_module, "judge_chunk", hogs.always_exit)
    before = verifier.counts["errors"]
    verdict = one(verifier, "x+1", "1+x")
    assert (verdict.correct, verdict.outcome, verdict.answer) == (None, "error", "x+1")
    assert verifier.counts["errors"] == before + 1


def test_hostile_texts_all_get_a_verdict_in_time(verifier):
    texts = [
        "10^{10^{8}}", "(10^9)!", "9^{9^{9^{9}}}", r"\sum_{k=1}^{100000000} \frac{1}{k}", "7" * 20_000,
        "(" * 2000 + "7" + ")" * 2000, "{" * 2000 + "7" + "}" * 2000, r"\frac{1}{" * 400 + "7" + "}" * 400,
        r"\operatorname{zeros}(99999,99999)", r"\binom{10^9}{10^8}", "x^" * 200 + "x", "🙂" * 100, "\x00",
    ]  # fmt: skip
    start = time.monotonic()
    verdicts = verifier.verify([Claim(rf"\boxed{{{text}}}", "x+7") for text in texts])
    assert time.monotonic() - start < 15
    assert [v.correct for v in verdicts] == [False] * len(texts)
    assert all(len(v.answer or "") <= 200 for v in verdicts)


def test_a_long_completion_is_verified(verifier):
    assert verifier.verify([Claim("wait " * 2_000_000 + r"\boxed{2x}", "x+x")])[0].correct


@pytest.mark.parametrize("kind", ["math", "gym", "exact"])
def test_model_text_is_never_executed(kind, tmp_path):
    canary = tmp_path / "canary"
    call = f"__import__('pathlib').Path('{canary}').touch()"
    texts = [
        call, f"({call})", f"1+{call}", f"eval(\"{call}\")", f"S(\"{call}\")", f"sin(\"{call}\")",
        f"\\operatorname{{eval}}({call})", f"f'{{{call}}}'", f"[{call} for x in [1]]", f"lambda: {call}",
        f"\\text{{{call}}}", f"x.{call}", "().__class__.__bases__[0].__subclasses__()", "{0.__class__.__init__}",
        f"exec('''{call}''')", f"open('{canary}', 'w')", f"7 if {call} else 7", f"\\write18{{touch {canary}}}",
        f"[{call}]", f"'a'.join([{call}])", f"print({call})", f"C*{call}", f"{call}+C",
    ]  # fmt: skip
    golds = ["7", call, "x+7"]
    if kind == "gym":
        pytest.importorskip("reasoning_gym")
        names = [
            "countdown",
            "puzzle24",
            "simple_integration",
            "intermediate_integration",
            "n_queens",
            "polynomial_multiplication",
            "spiral_matrix",
            "binary_matrix",
            "string_insertion",
            "number_sorting",
        ]
        golds = [f'{{"dataset": "{name}", "seed": 1, "index": 0}}' for name in names]
    with Verifier(VerifierSettings(kind=kind, format="answer_tag", timeout_s=20)) as verifier:
        claims = [Claim(f"<answer>{text}</answer>", gold) for text in texts for gold in golds]
        verdicts = verifier.verify(claims)
    assert not canary.exists()
    known = [v for v, c in zip(verdicts, claims, strict=True) if c.answer != call]
    assert not any(v.correct for v in known)
    if kind == "gym":
        assert all(v.correct is False for v in known)  # the scorers were reached, and refused


@pytest.mark.parametrize(
    "call", ["open({!r}, 'w')", "__import__('os').system('touch ' + {!r})", "(lambda: open({!r}, 'w'))()"]
)
def test_a_library_that_evaluates_an_answer_is_stopped_and_its_worker_replaced(call, tmp_path):
    canary = tmp_path / "canary"
    items = [call.format(str(canary)), call.format(str(canary)) + " ", "int(7)"]
    with Verifier(VerifierSettings(workers=1, timeout_s=5)) as verifier:
        found = verifier._in_chunks(items, hogs.evaluate, lambda item, how: how)
    assert [found[item][:3] for item in items] == [(False, False, "limit")] * 3
    assert len({found[item][3] for item in items}) == 3, "each of them ended its worker"
    assert not canary.exists()


def test_a_worker_is_replaced_after_so_many_claims_and_none_is_lost():
    with Verifier(VerifierSettings(workers=1)) as verifier:
        found = [
            verifier._in_chunks([a, b], hogs.two_claims_a_worker, pytest.fail) for a, b in ("ab", "cd", "ef")
        ]
        assert verifier.counts["restarts"] == 0, "which is no failure"
    pids = [pid for some in found for pid in some.values()]
    assert [some.keys() for some in found] == [set("ab"), set("cd"), set("ef")]
    assert len(set(pids)) == 3


def test_workers_ignore_interrupts_and_close_leaves_none():
    with Verifier(VerifierSettings(workers=2)) as verifier:
        assert one(verifier, "2x", "x+x").correct
        pids = list(verifier._pool._pool_manager.worker_manager.workers)
        assert len(pids) == 2
        for pid in pids:
            os.kill(pid, signal.SIGINT)
        assert one(verifier, "3x", "x+x+x").correct
        assert list(verifier._pool._pool_manager.worker_manager.workers) == pids
    assert not any(map(_running, pids))
    assert one(verifier, "4x", "2x+2x").correct  # closed, it starts again on demand
    verifier.close()


def test_workers_die_with_a_killed_parent(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, sys, time
            from lenrl.verify.pool import Claim, Verifier
            from lenrl.verify.settings import VerifierSettings
            if __name__ == "__main__":
                verifier = Verifier(VerifierSettings(workers=2))
                assert verifier.verify([Claim(r"\\boxed{2x}", "x+x")])[0].correct
                verifier._submit(pow, (7, 10**9), 600)  # one worker hangs in a C call
                time.sleep(1)
                print(*verifier._pool._pool_manager.worker_manager.workers, flush=True)
                time.sleep(600)
            """
        )
    )
    parent = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": ROOT},
    )
    assert parent.stdout is not None
    pids = [int(word) for word in parent.stdout.readline().split()]
    try:
        assert len(pids) == 2 and all(map(_running, pids))
    finally:
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 60
    while any(map(_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(_running, pids))


def test_workers_load_no_torch(verifier):
    loaded = verifier._submit(eval, ("'torch' in __import__('sys').modules", {}), 10).result()
    assert loaded is False


def test_the_verifier_refuses_a_missing_package(monkeypatch):
    monkeypatch.setattr(pool_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match="pip install"):
        Verifier(VerifierSettings(kind="gym"))


def test_exact_kind_compares_text_only():
    with Verifier(VerifierSettings(kind="exact")) as verifier:
        claims = [
            Claim(rf"\boxed{{{a}}}", g)
            for a, g in [("e4", "e4"), ("E4", "e4"), ("1/2", "0.5"), (r"\text{e 4}", "e4")]
        ]
        assert [v.correct for v in verifier.verify(claims)] == [True, False, False, True]
        assert verifier.verify([Claim("e4", "e4"), Claim(r"\boxed{e4}", None)])[1].correct is None
        assert verifier._pool is None  # no worker needed
        assert verifier.readable(["a", " ", None]) == [True, False, False]


def test_gym_kind_uses_the_scorer_of_the_data_set():
    rg = pytest.importorskip("reasoning_gym")
    entry = rg.create_dataset("leg_counting", seed=3, size=2)[1]
    by_seed = '{"dataset": "leg_counting", "seed": 3, "index": 1, "config": {}}'
    by_entry = json.dumps({"dataset": "leg_counting", "entry": entry})
    with Verifier(VerifierSettings(kind="gym", timeout_s=20)) as verifier:
        for gold in (by_seed, by_entry):
            right, wrong, none = verifier.verify(
                [Claim(t, gold) for t in (rf"\boxed{{{entry['answer']}}}", r"\boxed{-1}", "?")]
            )
            assert (right.correct, wrong.correct, none.correct) == (True, False, False)
            assert right.formatted and wrong.formatted and not none.formatted
        unknown = verifier.verify(
            [Claim(r"\boxed{1}", '{"dataset": "no_such"}'), Claim(r"\boxed{1}", "not json")]
        )
        assert [v.correct for v in unknown] == [None, None]
        assert verifier.readable([by_seed, by_entry, "not json"]) == [True, True, False]
        before = verifier.counts["restarts"]
        made = [
            json.dumps({"dataset": name, "seed": 1, "index": 0}) for name in ("bf", "knight_swap", "codeio")
        ]
        assert verifier.readable(made) == [True] * 3, "generators that run programs of their own"
        assert verifier.counts["restarts"] == before


def test_throughput_on_answers_that_need_the_parser():
    """200 a second on two cores, groups of 8 completions a gold answer, no text seen before."""
    rng = random.Random(5)

    def batch(groups):
        claims = []
        for i in range(groups):
            a, b, c = (rng.randint(2, 999) for _ in range(3))
            gold, right, wrong = [
                (
                    rf"\frac{{{a}\sqrt{{{b}}}}}{{{c}}}",
                    rf"{a}\sqrt{{{b}}}/{c}",
                    rf"\frac{{{a}\sqrt{{{b}}}}}{{{c + 1}}}",
                ),
                (f"x^2+{a + b}x+{a * b}", f"(x+{a})(x+{b})", f"(x+{a})(x-{b})"),
                (rf"({a},{b}\sqrt{{2}})", rf"({a}, \sqrt{{{2 * b * b}}})", rf"({a}, \sqrt{{{b}}})"),
                (rf"[{a},{a + b}\pi)", rf"[{a}, {a + b}\pi)", rf"[{a},{a + b}\pi]"),
            ][i % 4]
            texts = [
                right,
                wrong,
                right,
                gold,
                wrong.replace("2", "3"),
                right + "+0",
                wrong + "+1",
                gold + "-0",
            ]
            claims += [Claim(rf"<think>so</think>Hence \boxed{{{text}}}.", gold) for text in texts]
        return claims

    with Verifier(VerifierSettings(workers=2)) as verifier:
        verifier.verify(batch(40))
        claims = batch(60)
        start, before = time.perf_counter(), _cpu_seconds(verifier)
        verdicts = verifier.verify(claims)
        wall, busy = time.perf_counter() - start, _cpu_seconds(verifier) - before
    per_core = len(claims) / busy
    print(f"{2 * per_core:.0f} verdicts a second on two free cores, {len(claims) / wall:.0f} on these")
    assert all(v.correct is not None for v in verdicts)
    assert 2 * per_core >= 200  # by CPU time: other load on the machine does not count


def _cpu_seconds(verifier):
    """Seconds of CPU that this process and the workers have used."""
    ticks = 0
    for pid in verifier._pool._pool_manager.worker_manager.workers:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK") + time.process_time()


def test_plain_answers_need_no_worker():
    with Verifier(VerifierSettings()) as verifier:
        claims = [Claim(rf"\boxed{{{i}}}", str(i % 5)) for i in range(2000)]
        start = time.process_time()
        verdicts = verifier.verify(claims)
        assert time.process_time() - start < 4
        assert [v.correct for v in verdicts] == [i < 5 for i in range(2000)]
        assert verifier.readable(["7", "1,234", r"\frac{1}{2}", "B", "Monday", "5 cm", None]) == [
            True
        ] * 6 + [False]
        assert verifier._pool is None


def _running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize(
    "gold", ["The answer is 7.", "Paris is the capital", "so that Ann has 7 apples left"]
)
def test_a_sentence_is_no_gold_answer_of_mathematics(gold):
    assert not Math(Limits()).readable(gold)


@pytest.mark.parametrize(
    "gold", [r"\text{all real numbers}", "12 kilometers per hour", r"x=3 \text{ and } y=4", "Monday"]
)
def test_words_are_gold_answers(gold):
    assert Math(Limits()).readable(gold)


@pytest.mark.parametrize(("unfinished", "correct"), [("no_answer", False), ("read", True)])
def test_an_answer_in_unfinished_thinking_counts_where_it_is_to_be_read(
    unfinished: str, correct: bool
) -> None:
    text = r"<think>so \boxed{7}, but wait"
    with Verifier(VerifierSettings(kind="exact", unfinished=unfinished)) as verifier:
        found = [
            verifier.verify([Claim(claim, "7", think_prefilled=prefilled)])[0]
            for claim, prefilled in ((text, False), (text.removeprefix("<think>"), True))
        ]
    assert [verdict.correct for verdict in found] == [correct] * 2
    assert [verdict.answer_tags for verdict in found] == [correct] * 2
