"""Answers made of nothing but the prompt's own words."""

from __future__ import annotations

import re
from collections.abc import Callable

from ._offline_rank import Ranked
from ._offline_text import Task, headings_of, words_of

__all__ = ["Writer", "asked_count", "kind_asked"]

_NUMBERS = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10
}  # fmt: skip
_COUNTED = re.compile(
    r"\b(\d{1,3}|" + "|".join(_NUMBERS) + r")[ -](?:[\w-]+ ){0,3}?"
    r"(sentence|bullet|point|keyword|key ?phrase|word|claim|item|fact|title|headline|question|line|topic|tag|step"
    r"|section|theme|takeaway|reason|idea|quote|risk|problem|weakness|paragraph)s?\b",
    re.IGNORECASE,
)
_KINDS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(words, re.IGNORECASE))
    for kind, words in (
        ("keywords", r"\bkey[ -]?(?:words?|phrases?|terms?)\b|\b(?:tags?|topics?|themes?|entities)\b"),
        ("title", r"\b(?:titles?|headlines?)\b|\bname (?:it|this)\b"),
        ("outline", r"\boutline[sd]?\b|\btable of contents\b|\bstructure of\b"),
        ("questions", r"\bquestions?\b|\bquiz\b"),
        ("list", r"\blist\b|\bbullets?\b|\b(?:claims|points|facts|takeaways|quotes|steps|reasons|ideas|risks|items)\b"
                 r"|\bextract\b|\bcritique\b|\bweak(?:ness|nesses)?\b|\bproblems\b"),
        ("summary", r"\bsummar\w+|\btl;?dr\b|\babstract\b|\bcondense\b|\bshorten\b|\bbrief\b|\bsynops\w+"
                    r"|\bgist\b|\bdigest\b"),
        ("prose", r"\b(?:post|article|essay|talk|speech|report|conclusion|introduction|paragraphs?)\b"),
    )
)  # fmt: skip
_WRITING = re.compile(r"\b(?:write|draft|compose|rewrite|merge|combine)\b", re.IGNORECASE)
_SENTENCES = {"summary": 3, "list": 5, "prose": 8, "outline": 6, "keywords": 8, "questions": 3, "title": 1}


def kind_asked(instruction: str) -> str:
    """The kind of text asked for: that whose words come first; without any, prose if something is to be written."""
    found = [(match.start(), kind) for kind, words in _KINDS if (match := words.search(instruction)) is not None]
    if found:
        return min(found, key=lambda hit: hit[0])[1]
    return "prose" if _WRITING.search(instruction) else "summary"


def asked_count(instruction: str) -> tuple[int, str] | None:
    """How many of what, as in `three short bullet points`; None when no number is named."""
    found = _COUNTED.search(instruction)
    if found is None:
        return None
    number = found.group(1).lower()
    return max(1, _NUMBERS.get(number) or int(number)), found.group(2).lower()


class Writer:
    """Writes one kind of text about one source."""

    def __init__(self, task: Task, *, ranked: Ranked | None = None) -> None:
        self.task = task
        self.ranked = ranked or Ranked(task.source)
        self._count = asked_count(task.instruction)

    def write(self, kind: str) -> str:
        """The text; never empty for a source that holds a word."""
        makers: dict[str, Callable[[], str]] = {
            "keywords": lambda: ", ".join(self.key_words()),
            "title": self.title,
            "outline": self.outline,
            "questions": self.questions,
            "list": lambda: "\n".join(f"- {sentence}" for sentence in self.sentences("list")),
            "prose": self.prose,
        }
        return makers.get(kind, self.summary)() or self.task.source.strip()

    def sentences(self, kind: str) -> list[str]:
        """The best sentences: as many as asked for, else as many as the kind and the length call for."""
        return self.ranked.best(self._number(kind))

    def summary(self) -> str:
        """The best sentences as one paragraph, within the number of words asked for."""
        if self._count is not None and self._count[1] == "word":
            return self._within(self._count[0])
        return " ".join(self.sentences("summary"))

    def prose(self) -> str:
        """The best sentences as paragraphs of three."""
        if self._count is not None and self._count[1] == "word":
            return self._within(self._count[0])
        best = self.sentences("prose")
        return "\n\n".join(" ".join(best[at : at + 3]) for at in range(0, len(best), 3))

    def key_words(self) -> list[str]:
        """The key words, as many as asked for."""
        return self.ranked.key_words[: self._number("keywords")] or words_of(self.task.source)[:1]

    def title(self) -> str:
        """A title of the three strongest key words."""
        words = [word[:1].upper() + word[1:] for word in self.ranked.key_words[:3]]
        if len(words) < 3:
            return " and ".join(words)
        return f"{words[0]}: {words[1]} and {words[2]}"

    def outline(self) -> str:
        """The text's own headings; without any, its best sentences, each under its key word."""
        own = headings_of(self.task.source)
        if len(own) > 1:
            return "\n".join(f"{at}. {heading}" for at, heading in enumerate(own, 1))
        lines: list[str] = []
        used: set[str] = set()
        for at, point in enumerate(self.sentences("outline"), 1):
            topic = self._topic(point, used)
            used.add(topic)
            lines.append(f"{at}. {topic[:1].upper()}{topic[1:]}\n   - {point}")
        return "\n".join(lines)

    def questions(self) -> str:
        """What may be asked about the key words."""
        words = self.ranked.key_words[: self._number("questions")]
        return "\n".join(f"{at}. What does the text say about {word}?" for at, word in enumerate(words, 1))

    def _topic(self, sentence: str, used: set[str]) -> str:
        """The strongest key word of the sentence that names no other point yet."""
        lower = sentence.lower()
        words = (word for word in self.ranked.key_words if word.lower() in lower and word not in used)
        return next(words, " ".join(sentence.split()[:4]))

    def _number(self, kind: str) -> int:
        if self._count is not None and self._count[1] not in ("word", "paragraph"):
            return self._count[0]
        if self._count is not None and self._count[1] == "paragraph":
            return 3 * self._count[0]
        longer = len(self.ranked.sentences) > 80 and kind in ("summary", "list", "prose")
        return _SENTENCES.get(kind, 3) + (2 if longer else 0)

    def _within(self, words: int) -> str:
        """The best sentences that fit into so many words; when none does, the beginning of the best."""
        chosen: set[str] = set()
        left = words
        for index in self.ranked.order:
            sentence = self.ranked.sentences[index]
            if len(sentence.split()) <= left:
                chosen.add(sentence)
                left -= len(sentence.split())
        if chosen:
            return " ".join(sentence for sentence in self.ranked.sentences if sentence in chosen)
        best = self.ranked.best(1)
        return " ".join(best[0].split()[:words]) if best else ""
