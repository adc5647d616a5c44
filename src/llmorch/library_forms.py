"""Blocks, payloads and workflows as documents of a library, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, cast

from pydantic import ValidationError

from .definition.document import FORMAT, from_document, to_document, unportable
from .definition.document_payload import payload_from, payload_to
from .definition.document_read import Reader
from .definition.document_type import is_portable_type
from .definition.workflow import WorkflowDef
from .documents import Document, DocumentInvalid, label
from .errors import CodeMissing, TemplateError, ValueRefused, WorkflowInvalid
from .models.block import Block
from .models.payload import Payload
from .models.values import Data, to_data
from .workflow import Workflow
from .workflow_files import Code, by_address

__all__ = [
    "block_of",
    "document_of",
    "document_of_block",
    "document_of_definition",
    "document_of_payload",
    "faults_of",
    "payload_of",
    "workflow_of",
]

_OWN: Final = ("name", "folder", "tags", "description")  # what the document holds beside its body
_CODE: Final = ("output", "tools")


def document_of(thing: Block | Payload[Any] | Workflow[Any]) -> Document:
    """The document of a value, as yet in no library.

    Raises:
        DocumentInvalid: It has code that no other process can find, or a name that no document may have.
        WorkflowInvalid: The workflow cannot be bound.
    """
    match thing:
        case Block():
            return document_of_block(thing)
        case Payload():
            faults = list(_unportable(thing))
            if faults:
                raise DocumentInvalid("\n  - ".join([_UNPORTABLE.format(f"Payload {thing.name!r}"), *faults]))
            return document_of_payload(thing)
        case Workflow():
            definition = thing.freeze()
            faults = list(unportable(definition))
            if faults:
                raise DocumentInvalid("\n  - ".join([_UNPORTABLE.format(f"Workflow {definition.name!r}"), *faults]))
            return document_of_definition(definition)
        case _:
            raise TypeError(f"a library keeps Block, Payload and Workflow, not {type(cast(object, thing)).__name__}")


_UNPORTABLE: Final = (
    "{} cannot be kept, because another process would not find its code; define it at the top of a module that others "
    "can import:"
)


def _unportable(payload: Payload[Any]) -> Iterator[str]:
    if payload.output is not str and not is_portable_type(payload.output):
        yield "its output is a type that is defined inside a function or in __main__"
    yield from (
        f"its tool {tool.name!r} cannot be found again as {tool.address}"
        for tool in payload.tools
        if not tool.is_portable
    )


def document_of_block(block: Block) -> Document:
    """The document of a block."""
    body: dict[str, Data] = {"llmorch": FORMAT, "text": block.text}
    if block.role != "user":
        body["role"] = block.role
    if block.defaults:
        body["defaults"] = block.default_data
    return Document("block", block.name, body, folder=block.folder, tags=block.tags, description=block.description)


def document_of_payload(payload: Payload[Any]) -> Document:
    """The document of a payload, whoever may find its code."""
    fields = {name: value for name, value in payload_to(payload).items() if name not in _OWN}
    body = to_data({"llmorch": FORMAT, **fields}, where=f"payload {payload.name!r}")
    return Document("payload", payload.name, body, tags=payload.tags, description=payload.description)


def document_of_definition(definition: WorkflowDef) -> Document:
    """The document of a workflow, whoever may find its code; without tags, which no workflow has by itself."""
    body = {name: value for name, value in to_document(definition).items() if name not in _OWN}
    return Document("workflow", definition.name, body, description=definition.description)


def block_of(document: Document, *, at: str = "") -> Block:
    """The block that a document describes.

    Args:
        at: The place of the document in a text, for errors.

    Raises:
        DocumentInvalid: It describes none; every fault is listed.
    """
    fields = _fields(document, at)
    try:
        return Block.model_validate({**fields, "folder": document.folder, "tags": list(document.tags)})
    except ValidationError as error:
        faults = [
            f"{at or what}: {'.'.join(map(str, item['loc']))}: {item['msg']}"
            for what in (label(document.kind, document.name),)
            for item in error.errors(include_url=False, include_context=False)
        ]
    except (TemplateError, ValueRefused) as error:
        faults = [f"{at}: {error.message}" if at else error.message]
    raise DocumentInvalid(faults=faults)


def payload_of(document: Document, *, code: Code | None = None, at: str = "") -> Payload[Any]:
    """The payload that a document describes; nothing is imported.

    Args:
        code: Functions and types it names: a list of them, or a mapping of address (`module:qualname`) -> object.
        at: The place of the document in a text, for errors.

    Raises:
        DocumentInvalid: It describes none; every fault is listed.
        CodeMissing: A function or type is not in `code`.
    """
    fields, what = _fields(document, at), at or label(document.kind, document.name)
    if document.tags:
        fields["tags"] = list(document.tags)
    reader = Reader(by_address(code))
    payload = payload_from(reader, fields, what)
    if payload is not None and not reader.faults:
        return payload
    if reader.missing and len(reader.faults) == len(reader.missing):
        names = ", ".join(dict.fromkeys(reader.missing))
        raise CodeMissing(
            f"{what} names {names}, which is not at hand; documents never import code, so pass it as code=[...] to the "
            "collection"
        )
    raise DocumentInvalid(faults=reader.faults)


def workflow_of(document: Document, *, code: Code | None = None) -> Workflow[Any]:
    """The workflow that a document describes; nothing is imported.

    Raises:
        DocumentInvalid: It is of another kind, or of a format that this version does not read.
        WorkflowInvalid: It describes none; every fault is listed.
        CodeMissing: A function or type is not in `code`.
    """
    fields = _fields(document, "")
    return Workflow.from_dict(fields, code=code)


def _fields(document: Document, at: str) -> dict[str, Data]:
    """Name, description and body of a document, the format of which is checked."""
    fields = dict(document.body)
    what = at or label(document.kind, document.name)
    form = fields.get("llmorch") if document.kind == "workflow" else fields.pop("llmorch", None)
    if isinstance(form, bool) or form != FORMAT:
        raise DocumentInvalid(f"{what}: llmorch is {form!r}, and this version reads format {FORMAT}")
    twice = [name for name in _OWN if name in fields]
    if twice:
        raise DocumentInvalid(f"{what}: {twice[0]!r} stands in the body; it belongs beside it")
    about = {"name": document.name, "description": document.description}
    return {**{name: text for name, text in about.items() if text}, **fields}


def faults_of(document: Document, at: str) -> list[str]:
    """What keeps a document from being read, whatever code is at hand; runs nothing.

    Args:
        at: The place of its body in a text.
    """
    try:
        match document.kind:
            case "block":
                block_of(document, at=at)
            case "payload":
                return _faults_of_payload(document, at)
            case "workflow":
                from_document(_fields(document, at))
    except CodeMissing:
        return []
    except DocumentInvalid as error:
        return list(error.faults)
    except WorkflowInvalid as error:
        return [f"{at}.{fault}" for fault in error.faults]
    return []


def _faults_of_payload(document: Document, at: str) -> list[str]:
    try:
        payload_of(document, at=at)
    except DocumentInvalid as error:
        return [fault for fault in error.faults if not fault.endswith("is not at hand")]
    except CodeMissing:  # its other fields were not looked at
        rest: Mapping[str, Data] = {name: value for name, value in document.body.items() if name not in _CODE}
        return _faults_of_payload(replace(document, body=rest), at)
    return []
