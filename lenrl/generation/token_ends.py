"""Places in a completion's text, as places among its tokens."""

from bisect import bisect_left
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from lenrl.errors import RunFailed
from lenrl.generation.sampling import completion_text


def token_ends(
    tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], eos_ids: Sequence[int], ends: Sequence[int]
) -> list[int]:
    """For each number of characters, the tokens whose text has that many first.

    Args:
        tokenizer: decodes prefixes of the completion, some 12 a place.
        eos_ids: end it; they have no text.
        ends: rising numbers of characters of its text, each at least 1.

    Raises:
        RunFailed: the text is shorter than that.
    """
    places = []
    for end in ends:
        low = places[-1] if places else 0
        place = bisect_left(
            range(len(ids) + 1),
            end,
            lo=low,
            key=lambda tokens: len(completion_text(tokenizer, ids[:tokens], eos_ids)),
        )
        if place > len(ids):
            characters = len(completion_text(tokenizer, ids, eos_ids))
            raise RunFailed(
                f"the verifier ends a step at character {end} of a completion of {characters}: a step ends inside the "
                "completion's text"
            )
        places.append(place)
    return places


def tokens_at_end(
    tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], eos_ids: Sequence[int], characters: int
) -> int:
    """The last tokens of a completion that hold that many characters of its text, and an EOS; 0 for no character.

    Decodes the end only, which after the thinking is short.
    """

    def held(tokens: int) -> int:
        return len(completion_text(tokenizer, ids[len(ids) - tokens :], eos_ids))

    reach = 16
    while reach < len(ids) and held(reach) < characters:
        reach *= 2
    return bisect_left(range(min(reach, len(ids))), characters, key=held)
