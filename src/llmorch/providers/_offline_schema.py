"""A value that satisfies a JSON schema, made of what a text holds: its sentences, key words, counts and dates.

Names guide the choice: a property called `title` gets the title, `keywords` the key words, `word_count` a count. What a
text cannot give (a pattern, a foreign format) gets the nearest thing it has, and the output check then judges it.
"""

from __future__ import annotations

import math
import re
from typing import Any

from ._loose_json import is_list, is_object
from ._offline_text import Task, content_words, stem, words_of
from ._offline_writer import Writer, asked_count

__all__ = ["Filler"]

_MAX_DEPTH = 8
_ITEMS = 5
_TITLE = re.compile(r"title|headline|heading|^name$|_name$|label|subject", re.IGNORECASE)
_KEYWORD = re.compile(r"key_?(?:word|phrase|term)|tag|topic|theme|categor|entit", re.IGNORECASE)
_SUMMARY = re.compile(
    r"summary|abstract|description|text|body|content|overview|answer|conclusion|synopsis", re.IGNORECASE
)
_OF_SENTENCES = re.compile(r"sentence|claim|point|fact|line|item", re.IGNORECASE)
_FORMATS = {
    "date": re.compile(r"\b\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])\b"),
    "email": re.compile(r"\b[\w.+-]+@[\w-]+\.[\w.-]*\w"),
    "uri": re.compile(r"\bhttps?://[^\s<>\"')]+"),
}
_PLACEHOLDERS = {
    "date": "1970-01-01",
    "date-time": "1970-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "PT0S",
    "email": "nobody@example.invalid",
    "uri": "https://example.invalid/",
    "url": "https://example.invalid/",
    "uuid": "00000000-0000-0000-0000-000000000000",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "hostname": "example.invalid",
}


class Filler:
    """Fills one schema from one text.

    Args:
        schema: The JSON schema, with `$defs` at its root.
        writer: What is known of the text.
    """

    def __init__(self, schema: dict[str, Any], writer: Writer) -> None:
        self._root = schema
        self._writer = writer

    def value(self) -> Any:  # Any: JSON data
        """The value for the whole schema."""
        return self._fill(self._root, "", self._writer, 0)

    def _fill(self, schema: Any, name: str, writer: Writer, depth: int) -> Any:  # Any: JSON data
        if not is_object(schema) or not schema:
            return writer.summary()
        schema = self._plain(schema, depth)
        if "const" in schema:
            return schema["const"]
        if is_list(schema.get("enum")) and schema["enum"]:
            return _nearest(schema["enum"], writer)
        kind = schema.get("type")
        if is_list(kind):
            kind = next((one for one in kind if one != "null"), "null")
        match kind:
            case "object":
                return self._object(schema, writer, depth)
            case "array":
                return self._array(schema, name, writer, depth)
            case "integer" | "number":
                return _number(schema, name, writer, whole=kind == "integer")
            case "boolean":
                asked = {stem(word) for word in content_words(name.replace("_", " "))}
                return bool(asked) and asked <= {stem(word) for word in words_of(writer.task.source)}
            case "null":
                return None
            case _:
                return self._object(schema, writer, depth) if "properties" in schema else _text(schema, name, writer)

    def _plain(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        """The schema without references and choices: the first branch that is not null, or null when deep down."""
        for _ in range(16):
            if "$ref" in schema:
                found: Any = self._root  # Any: JSON data
                for part in str(schema["$ref"]).removeprefix("#").strip("/").split("/"):
                    found = found.get(part, {}) if part and is_object(found) else found
                schema = {**(found if is_object(found) else {}), **_without(schema, "$ref")}
            elif choices := (schema.get("anyOf") or schema.get("oneOf")):
                nulls = [choice for choice in choices if is_object(choice) and choice.get("type") == "null"]
                others = [choice for choice in choices if choice not in nulls]
                chosen = nulls[0] if nulls and (depth > _MAX_DEPTH or not others) else others[0]
                schema = {**_without(schema, "anyOf", "oneOf"), **chosen}
            elif "allOf" in schema:
                merged = _without(schema, "allOf")
                for part in schema["allOf"]:
                    merged = {**merged, **self._plain(part, depth)}
                schema = merged
            else:
                break
        return schema

    def _object(self, schema: dict[str, Any], writer: Writer, depth: int) -> dict[str, Any]:
        required: list[str] = schema.get("required") or []
        properties: dict[str, Any] = schema.get("properties") or {}
        made = {
            name: self._fill(item, name, writer, depth + 1)
            for name, item in properties.items()
            if name in required or depth < _MAX_DEPTH
        }
        free = schema.get("additionalProperties")
        if not made and is_object(free):
            counted = self._plain(free, depth).get("type") in ("integer", "number")
            source = writer.task.source.lower()
            for word in writer.key_words()[:_ITEMS]:
                made[word] = source.count(word.lower()) if counted else self._fill(free, word, writer, depth + 1)
        return made

    def _array(self, schema: dict[str, Any], name: str, writer: Writer, depth: int) -> list[Any]:
        fixed = schema.get("prefixItems")
        if is_list(fixed):
            return [self._fill(item, name, writer, depth + 1) for item in fixed]
        least, most = schema.get("minItems") or 0, schema.get("maxItems", math.inf)
        asked = asked_count(writer.task.instruction) if depth < 2 else None
        count = int(max(least, min(most, asked[0] if asked and asked[1] != "word" else _ITEMS)))
        if depth > _MAX_DEPTH:
            count = least
        items = schema.get("items")
        item = self._plain(items, depth) if is_object(items) else {}
        if is_list(item.get("enum")):
            made = _by_overlap(item["enum"], writer)[:count]
        elif item.get("type") in (None, "string"):
            made = writer.ranked.key_words[:count] if _KEYWORD.search(name) else writer.ranked.best(count)
            made = [_shaped(text, item) for text in made]
        else:
            parts = [Writer(Task(writer.task.instruction, part)) for part in writer.ranked.best(count)]
            made = [self._fill(item, name, part, depth + 1) for part in (parts or [writer])[:count]]
            return _repeated(made, least)
        return _at_least(made, least, unique=bool(schema.get("uniqueItems")), filler=writer.task.source)


def _without(schema: dict[str, Any], *names: str) -> dict[str, Any]:
    return {key: item for key, item in schema.items() if key not in names}


def _at_least(made: list[Any], least: int, *, unique: bool, filler: str) -> list[Any]:
    """A short text has few sentences; the schema may still want more items."""
    if unique:
        made = [item for at, item in enumerate(made) if item not in made[:at]]
    spare = [word for word in dict.fromkeys(words_of(filler)) if word not in made] or [filler]
    made += spare[: max(0, least - len(made))]
    return _repeated(made, least)


def _repeated(made: list[Any], least: int) -> list[Any]:
    return made + made[-1:] * (least - len(made))


def _by_overlap(choices: list[Any], writer: Writer) -> list[Any]:
    """The choices whose words the text has most often, first."""
    counts: dict[str, int] = {}
    for word in words_of(f"{writer.task.source} {writer.task.instruction}"):
        counts[stem(word)] = counts.get(stem(word), 0) + 1

    def weight(choice: Any) -> float:  # Any: JSON data
        words = words_of(str(choice).replace("_", " "))
        return sum(counts.get(stem(word), 0) for word in words) / max(1, len(words))

    return [choices[at] for at in sorted(range(len(choices)), key=lambda at: (-weight(choices[at]), at))]


def _nearest(choices: list[Any], writer: Writer) -> Any:  # Any: JSON data
    return _by_overlap(choices, writer)[0]


def _number(schema: dict[str, Any], name: str, writer: Writer, *, whole: bool) -> int | float:
    """A count of what the name says, or the share of the text its best sentences make up; within the bounds."""
    source = writer.task.source
    low, high = _bounds(schema)
    if not whole and low >= 0 and high <= 1:
        best = sum(len(sentence) for sentence in writer.ranked.best(3))
        found: float = round(min(1.0, best / max(1, len(source))), 2)
    elif _KEYWORD.search(name):
        found = len(writer.ranked.key_words)
    elif "char" in name.lower():
        found = len(source)
    elif _OF_SENTENCES.search(name):
        found = len(writer.ranked.sentences)
    else:
        found = len(words_of(source))
    found = min(max(found, low), high)
    step = schema.get("multipleOf")
    if isinstance(step, int | float) and step > 0:
        found = math.floor(found / step) * step
        found = found + step if found < low else found
    return int(found) if whole else float(found)


def _bounds(schema: dict[str, Any]) -> tuple[float, float]:
    whole = schema.get("type") == "integer"
    edge = 1 if whole else 1e-6
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    low = max(low, above + edge) if isinstance(above, int | float) else low
    high = min(high, below - edge) if isinstance(below, int | float) else high
    return (math.ceil(low) if whole and math.isfinite(low) else low), high


def _text(schema: dict[str, Any], name: str, writer: Writer) -> str:
    shape = str(schema.get("format") or "")
    if shape in _PLACEHOLDERS:
        pattern = _FORMATS.get("uri" if shape == "url" else shape)
        found = pattern.search(writer.task.source) if pattern is not None else None
        return found.group() if found is not None else _PLACEHOLDERS[shape]
    if schema.get("pattern"):
        return _matching(str(schema["pattern"]), schema, name, writer)
    return _shaped(_by_name(name, writer), schema)


def _by_name(name: str, writer: Writer) -> str:
    if _TITLE.search(name):
        return writer.title()
    if _KEYWORD.search(name):
        return writer.key_words()[0]
    if not name or _SUMMARY.search(name):
        return writer.summary()
    asked = {stem(word) for word in words_of(name.replace("_", " "))}
    about = [text for text in writer.ranked.sentences if asked & {stem(word) for word in words_of(text)}]
    return (about or writer.ranked.best(1) or [writer.task.source])[0]


def _matching(pattern: str, schema: dict[str, Any], name: str, writer: Writer) -> str:
    try:
        wanted = re.compile(pattern)
    except re.error:
        return _shaped(_by_name(name, writer), schema)
    texts = [_by_name(name, writer), *writer.key_words(), *words_of(writer.task.source), *writer.ranked.sentences]
    return next((text for text in texts if wanted.search(text)), texts[0])


def _shaped(text: str, schema: dict[str, Any]) -> str:
    least, most = schema.get("minLength") or 0, schema.get("maxLength")
    if isinstance(most, int) and len(text) > most:
        text = text[:most].rsplit(" ", 1)[0] if " " in text[:most] and least < most // 2 else text[:most]
    while len(text) < least:
        text = f"{text} {text}".strip() or "-"
    return text[:most] if isinstance(most, int) else text
