"""What this version writes, for the golden files; `python -m tests.unit.library.golden_texts` writes them anew.

A file that was released is never changed: a new written form gets a new folder, and the old one is still read.
"""

from __future__ import annotations

from pathlib import Path

import anyio

from llmorch import Block, Payload
from llmorch.library import Collection
from tests.unit.library.library_parts import CODE, DRAFT, VOICE, Dated, flow

FOLDER = Path(__file__).parent / "golden" / "format-1"


async def texts() -> dict[str, str]:
    """File name -> text."""
    one = Collection(Dated(), code=CODE)
    await one.save(Block("voice", "Older.", folder="Phase 1/Tone"))
    await one.save(VOICE)
    found = {"block.json": await one.export("block", "voice", format="json")}
    await one.save(DRAFT)
    found["payload.json"] = await one.export("payload", "draft", format="json")
    await one.save(flow(), tags=["post"])
    found["workflow.json"] = await one.export("workflow", "article-to-post", format="json")
    await one.save(Block("gone", "Gone.", tags=["old"]))
    await one.save(Payload("short", await one.block("gone"), "x", temperature=0))
    await one.save(DRAFT.using(temperature=1))
    await one.delete("block", "gone", force=True)
    found["library.json"] = await one.export(format="json")
    found["library.yaml"] = await one.export()
    return found


def main() -> None:
    """Write the files."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in anyio.run(texts).items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
