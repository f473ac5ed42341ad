"""One problem, as every task hands it over."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Problem:
    """A prompt with its gold answer.

    Attributes:
        id: stable name, unique within a task; the same problem has the same id in every run.
        prompt: text of the (last) user message, before any chat template.
        answer: gold answer, or `None` where the task has no labels.
        difficulty: the task's own grade of the problem, for curricula and for breakdowns in reports.
        columns: further columns of the data set, by name; they are not part of the hash.
        where: the problem's file and line, for messages; empty where it comes from no file.
        context: messages before that of the user, as (role, text): a system prompt, earlier turns.
        part: name of its task in a mix; empty elsewhere.
    """

    id: str
    prompt: str
    answer: str | None
    difficulty: str | int | None = None
    columns: Mapping[str, object] = field(default_factory=dict, hash=False)
    where: str = field(default="", compare=False)
    context: tuple[tuple[str, str], ...] = ()
    part: str = ""

    @property
    def asked(self) -> tuple[tuple[tuple[str, str], ...], str]:
        """All that the data set asks, earlier messages included: equal for problems that are the same question."""
        return self.context, self.prompt

    @property
    def judged_by(self) -> dict[str, object]:
        """The columns that a verifier may read: the data's and, unless one is called so, `prompt`."""
        return {"prompt": self.prompt, **self.columns}
