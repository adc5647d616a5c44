"""Which sentences and words matter: TextRank, a random walk over a graph of what they share.

Source: R. Mihalcea and P. Tarau, "TextRank: Bringing Order into Texts", EMNLP 2004.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

from ._offline_text import content_words, sentences_of, stem

if TYPE_CHECKING:
    import networkx as nx

__all__ = ["Ranked"]

_DAMPING = 0.85
_TOLERANCE = 1e-5
_MAX_ROUNDS = 60
_WINDOW = 3
_MAX_SENTENCES = 1500
_TOO_ALIKE = 0.6
_LEANING = (
    "this ",
    "that ",
    "these ",
    "those ",
    "it ",
    "they ",
    "he ",
    "she ",
    "but ",
    "and ",
    "so ",
    "however",
    "thus",
)


class Ranked:
    """A text with its sentences and key words by weight."""

    def __init__(self, text: str) -> None:
        self.sentences = sentences_of(text)[:_MAX_SENTENCES]
        self._words = [content_words(sentence) for sentence in self.sentences]
        self._stems = [[stem(word) for word in words] for words in self._words]
        self.order = self._rank_sentences()
        self._key_words: list[str] | None = None

    @property
    def key_words(self) -> list[str]:
        """Words and pairs of words by weight, in their commonest form."""
        if self._key_words is None:
            self._key_words = self._rank_words()
        return self._key_words

    def best(self, count: int) -> list[str]:
        """The sentences that matter most and differ from one another, in the text's order."""
        chosen: list[int] = []
        spare: list[int] = []
        for index in self.order:
            if len(chosen) >= count:
                break
            (spare if any(self._alike(index, other) for other in chosen) else chosen).append(index)
        chosen += spare[: count - len(chosen)]
        return [self.sentences[index] for index in sorted(chosen)]

    def _alike(self, one: int, other: int) -> bool:
        first, second = set(self._stems[one]), set(self._stems[other])
        return bool(first and second) and len(first & second) / min(len(first), len(second)) > _TOO_ALIKE

    def _rank_sentences(self) -> list[int]:
        count = len(self.sentences)
        scores = _walk(self._sentence_graph(), count)
        for index, sentence in enumerate(self.sentences):
            scores[index] *= self._fitness(index, sentence)
        return sorted(range(count), key=lambda index: (-scores[index], index))

    def _fitness(self, index: int, sentence: str) -> float:
        """How well a sentence stands alone: whole, of readable length, near the beginning, leaning on no other."""
        length = len(sentence.split())
        fitness = 1 + 0.3 * math.exp(-5 * index / max(1, len(self.sentences)))
        if length < 6 or length > 50:
            fitness *= 0.4
        if sentence.lower().startswith(_LEANING):
            fitness *= 0.6
        return fitness * (0.5 if sentence.endswith("?") else 1)

    def _sentence_graph(self) -> nx.Graph[int]:
        """Edges weigh the stems two sentences share by their lengths; in long texts one shared stem is chance."""
        import networkx as nx

        graph: nx.Graph[int] = nx.Graph()
        homes: defaultdict[str, list[int]] = defaultdict(list)
        shared: Counter[tuple[int, int]] = Counter()
        most = max(8, len(self.sentences) // 6)
        for index, stems in enumerate(self._stems):
            for word in dict.fromkeys(stems):
                homes[word].append(index)
        for places in homes.values():
            if len(places) <= most:  # a word of every sixth sentence tells them apart no more
                shared.update((one, other) for at, one in enumerate(places) for other in places[at + 1 :])
        least = 2 if len(self.sentences) > 40 else 1
        lengths = [math.log(1 + len(stems)) for stems in self._stems]
        graph.add_weighted_edges_from(
            (one, other, count / (lengths[one] + lengths[other]))
            for (one, other), count in shared.items()
            if count >= least
        )
        return graph

    def _rank_words(self) -> list[str]:
        import networkx as nx

        graph: nx.Graph[int] = nx.Graph()
        links: Counter[tuple[str, str]] = Counter()
        forms: defaultdict[str, Counter[str]] = defaultdict(Counter)
        pairs: Counter[tuple[str, str]] = Counter()
        for words, stems in zip(self._words, self._stems, strict=True):
            for at, word in enumerate(stems):
                forms[word][words[at]] += 1
                for other in stems[at + 1 : at + _WINDOW]:
                    if other != word:
                        links[min(word, other), max(word, other)] += 1
            pairs.update((one, two) for one, two in pairwise(stems) if one != two)
        ids = {word: index for index, word in enumerate(forms)}
        graph.add_weighted_edges_from((ids[one], ids[other], count) for (one, other), count in links.items())
        scores = _walk(graph, len(ids))
        ranked = sorted(ids, key=lambda word: (-scores[ids[word]], ids[word]))
        return self._with_pairs(ranked, pairs, forms)

    def _with_pairs(
        self, ranked: list[str], pairs: Counter[tuple[str, str]], forms: defaultdict[str, Counter[str]]
    ) -> list[str]:
        """Let a pair that comes again and again stand for its words."""
        high = {word: place for place, word in enumerate(ranked[:40])}
        text = "\n".join(self.sentences).lower()
        named: list[str] = []
        used: set[str] = set()
        for word in ranked[:40]:
            if word in used:
                continue
            partner = min(
                (pair for pair, count in pairs.items() if count >= 2 and word in pair and high.keys() >= set(pair)),
                key=lambda pair: (-pairs[pair], high[pair[0]] + high[pair[1]]),
                default=None,
            )
            phrase = " ".join(_form(forms[part]) for part in partner) if partner else ""
            if partner and phrase.lower() in text and not used & set(partner):
                named.append(phrase)
                used.update(partner)
            else:
                named.append(_form(forms[word]))
                used.add(word)
        return named


def _form(seen: Counter[str]) -> str:
    """The commonest spelling; at a tie the first one, and lower case before a capital at a sentence's start."""
    best = max(seen.values())
    forms = [form for form, count in seen.items() if count == best]
    return next((form for form in forms if form.islower()), forms[0])


def _walk(graph: nx.Graph[int], count: int) -> list[float]:
    """PageRank of the nodes 0 to count - 1, in plain Python: networkx's own needs scipy."""
    links = [
        [(other, float(edge["weight"])) for other, edge in graph.adj[node].items()] if node in graph else []
        for node in range(count)
    ]
    totals = [sum(weight for _, weight in near) for near in links]
    scores = [1.0 / max(1, count)] * count
    for _ in range(_MAX_ROUNDS):
        loose = sum(score for score, total in zip(scores, totals, strict=True) if not total)
        base = (1 - _DAMPING + _DAMPING * loose) / max(1, count)
        shares = [score / total if total else 0.0 for score, total in zip(scores, totals, strict=True)]
        former = scores
        scores = [base + _DAMPING * sum(shares[other] * weight for other, weight in near) for near in links]
        if sum(abs(now - then) for now, then in zip(scores, former, strict=True)) < _TOLERANCE:
            break
    return scores
