"""Rules about what documents were made of, and what becomes of that when one is renamed, deleted or purged."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from .._clock import now_us
from ..documents import Document, DocumentConflict, DocumentInUse, DocumentNotFound, Use
from ._library_rule import LibraryCase, Rule, block, fault_in, fault_in_list, names, payload, workflow
from ._store_rule import at_once, one_winner, refused
from ._suite import broken, name_of

__all__ = ["RULES"]


async def _made_of(case: LibraryCase) -> tuple[Document, Document]:
    """A payload of the first version of one block and the second of another, and a workflow of that payload."""
    await case.put(block(), block("rules", folder="a"), block("rules", "Second.", folder="a"), block("voice", "New."))
    uses = (Use("block", "rules", version=2, folder="a"), Use("block", "voice", version=1))
    made = await case.library.put(payload(uses=uses))
    return made, await case.library.put(workflow(uses=(Use("payload", "draft", version=1), uses[1])))


async def _uses(case: LibraryCase) -> None:
    made, flow = await _made_of(case)
    for one, wanted in ((made, payload()), (flow, workflow())):
        uses = made.uses if one is made else flow.uses
        fault = fault_in(await case.library.get(one.kind, one.name), one)
        if fault or [use.name for use in uses] != (["rules", "voice"] if one is made else ["draft", "voice"]):
            broken(f"the uses of {wanted.kind} {wanted.name!r} are {uses}; {fault or 'not what was put'}")
    listed = {one.name: one.uses for one in await case.library.list()}
    if (listed["draft"], listed["tea"]) != (made.uses, flow.uses):
        broken(f"list() gave the uses {listed}")
    again = await case.library.put(payload(uses=made.uses[::-1]))
    fault = fault_in_list(await case.history(made), [made, again])
    if again.version != 2 or fault:
        broken(f"the same body with other uses got version {again.version}, not 2; {fault or ''}")
    for use in (Use("block", "voice", version=3), Use("block", "rules", version=1), Use("payload", "no", version=1)):
        what = f"put() of what uses {use}, which is not there,"
        await refused(case.library.put(payload(uses=(use,))), what, kinds=(DocumentNotFound,))
        await case.unchanged([made, again], what)


async def _users(case: LibraryCase) -> None:
    await _made_of(case)
    asked = {("block", "voice", ""): ["payload draft", "workflow tea"], ("block", "rules", "a"): ["payload draft"]}
    asked |= {("payload", "draft", ""): ["workflow tea"], ("workflow", "tea", ""): []}
    for (kind, name, folder), wanted in asked.items():
        found = names(await case.library.users(kind, name, folder=folder))  # type: ignore[arg-type]  # a kind
        if found != wanted:
            broken(f"users({kind!r}, {name!r}) gave {found}, not {wanted}")
    await case.library.put(workflow(description="without"))
    found = names(await case.library.users("block", "voice"))
    if found != ["payload draft"]:
        broken(f"users() gave {found} after the present version of workflow 'tea' does not use it any more")


async def _renamed(case: LibraryCase) -> None:
    made, _ = await _made_of(case)
    before = await case.library.versions("block", "voice")
    renamed = await case.library.rename("block", "voice", to="tone", to_folder="b/c")
    wanted = [replace(one, name="tone", folder="b/c") for one in before]
    fault = fault_in(renamed, wanted[-1])
    fault = fault or fault_in_list(await case.library.versions("block", "tone", folder="b/c"), wanted)
    if fault:
        broken(f"after rename(), {fault}")
    await refused(case.library.get("block", "voice"), "get() by the old name", kinds=(DocumentNotFound,))
    uses = (made.uses[0], Use("block", "tone", version=1, folder="b/c"))
    if (await case.library.get("payload", "draft")).uses != uses:
        broken("the uses of a payload do not name a block as it is called since rename()")
    users = names(await case.library.users("block", "tone", folder="b/c"))
    if users != ["payload draft", "workflow tea"]:
        broken(f"users() after rename() gave {users}")
    again = await case.library.rename("block", "tone", folder="b/c", to="low")
    if (again.folder, again.name) != ("b/c", "low"):
        broken(f"rename() without to_folder= gave {again.folder!r}, {again.name!r}")
    fault = fault_in(await case.library.rename("block", "low", folder="b/c", to="low"), again)
    if fault:
        broken(f"rename() to the same name changed something: {fault}")
    fresh = await case.library.put(block(text="New."), expected=0)
    if fresh.version != 1:
        broken(f"a document of the name that rename() made free began at version {fresh.version}")


async def _name_taken(case: LibraryCase) -> None:
    await case.put(block("a"), block("b"), block("c"), block("a", folder="x"))
    await case.library.delete("block", "c")
    for to, folder in (("b", ""), ("c", ""), ("a", "x")):
        what = f"rename() to {to!r} in folder {folder!r}, which another block has,"
        await refused(case.library.rename("block", "a", to=to, to_folder=folder), what, kinds=(DocumentConflict,))
    found = names(await case.library.list(deleted=None))
    if found != ["block a", "block b", "block c", "block x/a"]:
        broken(f"after renames that were refused, the library holds {found}")
    ends = await at_once([partial(case.library.rename, "block", name, to="same") for name in ("a", "b")])
    one_winner(ends, "renames to the same name", loses=DocumentConflict)


async def _deleted(case: LibraryCase) -> None:
    first, second = await case.put(block(tags=("t",)), block(text="Two.", tags=("t",)))
    await case.library.delete("block", "voice", at=77)
    await refused(case.library.get("block", "voice"), "get() of a deleted block", kinds=(DocumentNotFound,))
    await refused(case.library.delete("block", "voice"), "delete() of a deleted block", kinds=(DocumentNotFound,))
    await refused(
        case.library.rename("block", "voice", to="x"), "rename() of a deleted block", kinds=(DocumentNotFound,)
    )
    await refused(case.library.put(block(), expected=2), "put(expected=2) after delete()", kinds=(DocumentConflict,))
    kept = [replace(one, deleted_at=77) for one in (first, second)]
    await case.unchanged(kept, "delete(at=77)")
    for number, one in enumerate(kept, 1):
        fault = fault_in(await case.library.get("block", "voice", version=number), one)
        if fault:
            broken(f"of version {number} of a deleted block, {fault}")
    lists = [await case.library.list(tag="t", deleted=deleted) for deleted in (False, True, None)]
    if [names(found) for found in lists] != [[], ["block voice"], ["block voice"]]:
        broken(f"list() gave {[names(found) for found in lists]} for deleted=False, True and None")
    fault = fault_in(await case.library.put(block(text="Two.", tags=("t",)), expected=0), second)
    if fault:
        broken(f"the content of the last version was put after delete(), and {fault}")
    await case.library.delete("block", "voice")
    third = await case.library.put(block(text="Three."), expected=0)
    if third.version != 3 or third.created_at != first.created_at:
        broken(f"another content put after delete() got version {third.version}, not 3")
    await case.unchanged([first, second, third], "it was put again")


async def _in_use(case: LibraryCase) -> None:
    made, _ = await _made_of(case)
    what = "delete() of a block in use"
    error = await refused(case.library.delete("block", "voice"), what, kinds=(DocumentInUse,))
    if not isinstance(error, DocumentInUse) or names(error.users) != ["payload draft", "workflow tea"]:
        broken(f"{what} raised {name_of(error)}; .users must be the payload and the workflow")
    if "'draft'" not in str(error) or "'tea'" not in str(error):
        broken(f"{what} raised {name_of(error)}; the text must name the users")
    await case.library.get("block", "voice")
    await case.library.delete("block", "voice", force=True)
    await case.unchanged([made], "a block it uses was deleted with force")
    await case.library.delete("workflow", "tea")
    await case.library.delete("payload", "draft")  # its only user is deleted
    if names(await case.library.list()) != ["block a/rules"]:
        broken(f"after three deletes, list() gave {names(await case.library.list())}")
    await case.library.put(workflow(uses=made.uses))
    await case.library.put(workflow(description="without"))
    await case.library.delete("block", "rules", folder="a")  # only the deleted payload uses it


async def _purged(case: LibraryCase) -> None:
    made, _ = await _made_of(case)
    await case.put(block("loose"), block("late"), block("alive"))
    for name, at in (("voice", 10), ("loose", 20), ("late", now_us())):
        await case.library.delete("block", name, force=True, at=at)
    counts = [await case.library.purge(before=10), await case.library.purge(before=21)]
    if counts != [0, 1]:
        broken(f"purge() said {counts}, not 0 and 1: 'voice' is what a payload was made of, 'loose' was deleted at 20")
    await refused(case.library.versions("block", "loose"), "versions() of what was purged", kinds=(DocumentNotFound,))
    await case.unchanged([made], "purge()")
    if (await case.library.put(block("loose"), expected=0)).version != 1:
        broken("a document of the name that purge() made free did not begin at version 1")
    await case.library.delete("workflow", "tea")
    await case.library.delete("payload", "draft")
    if await case.library.purge() != 4:
        broken("purge() did not say 4: a deleted workflow, its deleted payload and block, and 'late'")
    found = names(await case.library.list(deleted=None))
    if found != ["block alive", "block loose", "block a/rules"]:
        broken(f"after purge() the library holds {found}")


RULES = (
    Rule(
        "uses",
        "What a document was made of is kept with each version, in order; what is not there is refused.",
        "Refer to the version's own row under a foreign key that is enforced (PRAGMA foreign_keys = ON).",
        _uses,
    ),
    Rule(
        "users",
        "users() gives the documents whose present version uses any version of one.",
        "Join the uses of present versions with the versions of the document.",
        _users,
    ),
    Rule(
        "renamed",
        "A renamed document keeps its versions, and what was made of it names it as it is called now.",
        "Let uses refer to rows, not to names.",
        _renamed,
    ),
    Rule(
        "name-taken",
        "A name that another document has, be it deleted, is not given a second time.",
        "Make (kind, folder, name) unique.",
        _name_taken,
    ),
    Rule(
        "deleted",
        "A deleted document is not there, its versions can be read, and a put brings it back where it ended.",
        "Mark the row; never count versions anew while they are kept.",
        _deleted,
    ),
    Rule(
        "in-use",
        "What present documents were made of is deleted with force only; the refusal names them.",
        "Look for users inside the transaction; those that are deleted, and former versions, do not count.",
        _in_use,
    ),
    Rule(
        "purged",
        "purge() forgets what was deleted before a moment, but not what the history of the rest was made of.",
        "Keep everything that any version of a document that stays leads to.",
        _purged,
    ),
)
