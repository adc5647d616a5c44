"""A document that is too long for one prompt: it is split, each part is read, and the readings are put together."""

from __future__ import annotations

from typing import Any, TypeVar

from ..definition.functions import step
from ..definition.node import each
from ..models.payload import Payload
from ..workflow import Workflow

__all__ = ["map_reduce", "split_document"]

T = TypeVar("T")


@step(inline=True, pure=True, version="1")
def split_document(document: str, most_characters: int) -> list[str]:
    """The document in parts of at most so many characters, at paragraphs where that is possible.

    Example:
        >>> split_document("One.\\n\\nTwo.\\n\\nThree.", 12)
        ['One.\\n\\nTwo.', 'Three.']
    """
    parts: list[str] = []
    for paragraph in document.split("\n\n"):
        text = paragraph.strip()
        if parts and text and len(parts[-1]) + 2 + len(text) <= most_characters:
            parts[-1] = f"{parts[-1]}\n\n{text}"
        else:
            parts += [text[at : at + most_characters] for at in range(0, len(text), most_characters)]
    return parts


def map_reduce(
    read: Payload[Any],
    combine: Payload[T],
    *,
    most_characters: int = 8_000,
    concurrency: int | None = 8,
    name: str = "map-reduce",
) -> Workflow[T]:
    """A workflow that reads a document part by part and combines what was found; its input is `document`.

    Args:
        read: Reads one part as `{{ part }}`.
        combine: Reads what `read` gave for each part as `{{ findings }}`, a list in the order of the document.
        most_characters: Of one part.
        concurrency: How many parts are read at once; None for no bound of its own.

    Example:
        >>> read, combine = Payload("read", "Sum up: {{ part }}"), Payload("combine", "Merge: {{ findings | bullets }}")
        >>> wf = map_reduce(read, combine)
        >>> [step.name for step in wf.freeze().steps], list(wf.inputs)
        (['split', 'read', 'combine'], ['document'])
    """
    wf: Workflow[T] = Workflow(name)
    document = wf.input("document", str)
    parts = wf.add(split_document, name="split", document=document, most_characters=most_characters)
    findings = wf.map(read, part=each(parts), concurrency=concurrency)
    return wf.returns(wf.add(combine, findings=findings))
