"""The terminal, on which nothing that a model or a file says does more than stand there."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.segment import Segment

from lenrl.redact import visible


class Terminal(Console):
    """A console that shows the control characters of texts instead of sending them."""

    def render(self, *args: Any, **kwargs: Any) -> Iterable[Segment]:
        """Rich's own, text made visible."""
        for segment in super().render(*args, **kwargs):
            yield segment if segment.control else segment._replace(text=visible(segment.text))
