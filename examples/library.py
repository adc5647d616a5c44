"""Blocks, a payload and a workflow in a library: versions, a rename, a refusal, and the whole of it as text.

The library is in memory here; `SqliteLibrary("library.db")` keeps it in a file.
"""

import anyio

from llmorch import Block, Payload, Workflow
from llmorch.documents import DocumentInUse
from llmorch.library import Collection
from llmorch.stores.memory_library import MemoryLibrary


async def main() -> None:
    async with Collection(MemoryLibrary()) as library:
        await library.save(Block("voice", "Write plainly.", role="system", tags=["tone"], folder="House style"))
        await library.save(
            Block("voice", "Write plainly, for sailors.", role="system", tags=["tone"], folder="House style")
        )

        voice = await library.block("voice")
        draft = Payload("draft", voice, "Describe {{ place }} in two sentences.", temperature=0)
        saved = await library.save(draft)
        print(f"draft {saved.version} is made of", *(f"{use.name} {use.version}" for use in saved.uses))

        await library.save(Workflow.of(draft, name="harbour-guide"), tags=["weekly"])
        print("tagged tone:", *(one.name for one in await library.list(tag="tone")))
        print("says 'sailors':", *(f"{one.kind} {one.name}" for one in await library.list(text="sailors")))
        print(await library.diff("block", "voice", old=1))

        renamed = await library.rename("block", "voice", to="tone-of-voice")
        print("still used by:", *(f"{one.kind} {one.name}" for one in renamed.users))
        try:
            await library.delete("block", "tone-of-voice")
        except DocumentInUse as error:
            print(f"refused: {error}")

        text = await library.export()
        async with Collection(MemoryLibrary()) as copy:
            print("copied:", await copy.import_(text))
            print("once more:", await copy.import_(text))
            guide = await copy.workflow("harbour-guide")
            print("a workflow like any other:", guide, *guide.inputs)


anyio.run(main)
