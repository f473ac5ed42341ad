"""Words of a target's language, of which a fuzzer makes inputs."""

from tests.fuzz.targets import GENERATORS

_JSON = r'{ } [ ] : , " null true NaN 1e999 -1 0.5 \ud800 \u0000'
_TEXTS: dict[str, str] = {
    "extraction": r"<think> </think> <answer> </answer> \boxed{ \fbox{ } \{ \} $ \boxed",
    "comparison": r"""\frac{1}{2} \sqrt \pi ^{ _{ \cdot \begin{pmatrix} \end{pmatrix} \\ & \cup \infty \le \text{ \%
        \circ \mathrm \left( \right) \{ \} ! = \pm \int \sum \log \overline{ cm 10^ 1,000 \dfrac \ne \in \mathbb{R} x |
        \binom 0.\overline{3} \,""",
    "gym": rf"{_JSON} nan 1/2 x**2 sin(x) + * ** dataset entry config answer seed index metadata __tuple__ "
    + " ".join(GENERATORS),
    "manifest": rf"{_JSON} format files sha256 bytes 3",
    "state": rf"{_JSON} budget reward budgets targets visits lengths histogram step a b",
    "logged_rows": rf"{_JSON} prompt length correct score truncated answer_length text answer steps token_ids logps "
    r"part think_prefilled extracted mean_logp \\boxed{1}",
    "rows": rf"{_JSON} , PAR1 prompt answer",
    "ledger": rf"{_JSON} trial overrides status finished running run trial-000 seconds accuracy tokens measured_on",
    "evaluation": rf"{_JSON} models accuracy accuracy_ci95 tokens_mean tokens_mean_ci95 prompts model decoding samples "
    "task split tokens_p95 tokens_correct tokens_wrong truncated_share fingerprint completions by_part by_difficulty "
    "hash greedy",
    "recipe": "defaults base _self_ model: task: trainer: reward: name: kimi ${ } oc.env ??? null { [ ] &a *a <<: "
    "override !!python/object @ seed: output_dir: evals: launch: ~ path: _target_: 1e9",
    "message": "http:// user:pw@",
}
_WITH_SPACE = {
    "comparison": ["\0"],
    "gym": ["Move disk 1 from Peg 1 to Peg 2", "\n"],
    "logged_rows": ["\n", '{"prompt": "a", "length": 3, "correct": true}'],
    "rows": ["\n", "\ufeff"],
    "recipe": ["defaults: [base, _self_]\n", "\n  ", ": ", "- "],
    "message": ["\x1b[", "\x9b", "\u202e"],
}
WORDS = {name: [*text.split(), *_WITH_SPACE.get(name, ())] for name, text in _TEXTS.items()}
