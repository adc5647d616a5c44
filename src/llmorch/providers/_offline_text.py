"""A prompt taken apart without a model: what it asks for, what it is about, its sentences and its words."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from ._loose_json import is_list, is_object

__all__ = ["Task", "content_words", "headings_of", "read_task", "sentences_of", "stem", "words_of"]

_MAX_INSTRUCTION = 600
_FENCED = re.compile(r"```[^\n]*\n(.*?)```|<([a-zA-Z][\w-]*)>\s*(.*?)\s*</\2>", re.DOTALL)
_COLON_LINE = re.compile(r"^[^\n]*:[ \t]*\n", re.MULTILINE)
_INLINE = re.compile(r"^([^:\n.!?]{3,120}):\s+(?=\S)")
_BULLET = re.compile(r"^\s*(?:[-*+•]|\(?\d{1,3}[.)])\s+")
_HEADING = re.compile(r"^\s{0,3}#{1,6}\s+(.*?)\s*#*$")
_RULE = re.compile(r"^\s*(?:[-=*_~]{3,}|\|.*\||```.*)\s*$")
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+(?=[\"'“‘(\[]*[A-Z0-9ÀÖØ-Þ])|(?<=[。！？])\s*")
_ABBREVIATION = re.compile(
    r"(?:\b(?:mr|mrs|ms|dr|prof|st|sr|jr|vs|etc|e\.g|i\.e|cf|fig|no|vol|pp?|ch|sec|approx|inc|ltd|co|al|u\.s|u\.k)|\b[A-Z])\.$",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_STOP_WORDS = frozenset(
    """
    a about above after again against all almost also although always am among an and another any are around as at
    be became because become been before being below between both but by came can cannot come could did do does
    doing done down during each either else enough even ever every few first for from further get give go goes got
    had has have having he her here hers him his how however i if in indeed into is it its itself just last least
    less let like made make makes many may me might more most much must my near need neither never no nor not now
    of off often on once one only onto or other others our out over own per perhaps put rather really same say see
    seem shall she should since so some something still such take than that the their them then there these they
    thing things this those though three through thus to together too toward two under until up upon us use used
    uses using very was way we well were what when where whether which while who whole whom whose why will with
    within without would yet you your it's don't can't isn't that's there's
    """.split()  # noqa: SIM905
)


@dataclass(frozen=True, slots=True)
class Task:
    """A prompt's two halves; when they cannot be told apart, both are the whole prompt."""

    instruction: str
    source: str


def read_task(text: str) -> Task:
    """Tell the instruction from the text it is about. The first rule that fits counts:

    1. what stands in code fences or in `<tag>...</tag>` pairs is the source;
    2. what follows the first line that ends in a colon, when at most 600 characters stand before it;
    3. what follows a colon within the first line, as in `Summarize: ...`;
    4. what follows the first blank line, when the first paragraph is at most 600 characters and the shorter half;
    5. what stands before the last blank line, when the last paragraph is at most 600 characters and the shorter half.

    Example:
        >>> read_task("Name the claims made in:\\nTea is hot. Ice is not.")
        Task(instruction='Name the claims made in:', source='Tea is hot. Ice is not.')
    """
    text = text.strip()
    marked = [found.group(1) or found.group(3) or "" for found in _FENCED.finditer(text)]
    if any(part.strip() for part in marked):
        return Task(_FENCED.sub(" ", text).strip(), "\n\n".join(part.strip() for part in marked if part.strip()))
    line = _COLON_LINE.search(text)
    if line is not None and line.end() <= _MAX_INSTRUCTION and text[line.end() :].strip():
        return Task(text[: line.end()].strip(), text[line.end() :].strip())
    inline = _INLINE.match(text)
    if inline is not None:
        return Task(inline.group(1), text[inline.end() :].strip())
    first, _, rest = text.partition("\n\n")
    if rest.strip() and len(first) <= min(_MAX_INSTRUCTION, len(rest)):
        return Task(first.strip(), rest.strip())
    rest, _, final = text.rpartition("\n\n")
    if rest.strip() and len(final) <= min(_MAX_INSTRUCTION, len(rest)):
        return Task(final.strip(), rest.strip())
    return Task(text, text)


def headings_of(text: str) -> list[str]:
    """The headings a text marks with `#`."""
    found = (_HEADING.match(line) for line in text.splitlines())
    return [heading.group(1) for heading in found if heading is not None and heading.group(1)]


def sentences_of(text: str) -> list[str]:
    """The sentences of prose, of Markdown, or of the strings inside JSON, in order and without repeats."""
    prose = _prose_in_json(text)
    seen: dict[str, None] = {}
    for block in _blocks(text if prose is None else prose):
        for sentence in _split(block):
            if _WORD.search(sentence):
                seen.setdefault(sentence)
    return list(seen)


def _prose_in_json(text: str) -> str | None:
    if text[:1] not in ("[", "{"):
        return None
    try:
        return "\n\n".join(_strings(json.loads(text)))
    except (ValueError, RecursionError):
        return None


def _strings(value: Any) -> list[str]:  # Any: JSON data
    if isinstance(value, str):
        return [value]
    inner = value.values() if is_object(value) else value if is_list(value) else ()
    return [text for item in inner for text in _strings(item)]


def _blocks(text: str) -> list[str]:
    """Paragraphs and list items, each on one line; headings, rules and tables are no prose."""
    blocks: list[str] = []
    lines: list[str] = []
    is_item = False
    for line in [*text.splitlines(), ""]:
        ends = not line.strip() or _HEADING.match(line) or _RULE.match(line)
        starts = _BULLET.match(line)
        if ends or starts:
            if lines and (is_item or len(lines) > 1 or not _is_bare_heading(lines[0])):
                blocks.append(" ".join(lines))
            lines = []
            is_item = False
        if not ends:
            is_item = is_item or bool(starts)
            lines.append(_BULLET.sub("", line).strip().replace("**", "").replace("__", ""))
    return blocks


def _is_bare_heading(line: str) -> bool:
    return len(line.split()) <= 10 and line[-1:] not in '.!?…:;"”)。！？'


def _split(block: str) -> list[str]:
    sentences: list[str] = []
    for part in _SENTENCE_END.split(block):
        if sentences and _ABBREVIATION.search(sentences[-1]):
            sentences[-1] = f"{sentences[-1]} {part}"
        elif part:
            sentences.append(part)
    return [sentence.strip() for sentence in sentences]


def words_of(text: str) -> list[str]:
    """The words as they stand."""
    return _WORD.findall(text)


def stem(word: str) -> str:
    """The word in lower case without the commonest endings of English."""
    word = word.lower().replace("’", "'").removesuffix("'s")
    for ending, least in (("ies", 5), ("ing", 6), ("ed", 5), ("es", 5), ("s", 4)):
        if len(word) >= least and word.endswith(ending) and not word.endswith(("ss", "us", "is")):
            return word[: -len(ending)] + ("y" if ending == "ies" else "")
    return word


def content_words(text: str) -> list[str]:
    """The words that carry meaning."""
    return [word for word in words_of(text) if len(word) > 2 and word.lower() not in _STOP_WORDS and not word.isdigit()]
