"""Answers what a described leaf answers to what it sees: its bindings, in their order."""

import json
import sys
import zlib

document = json.load(sys.stdin)
given, leaf = document["dependencies"], document["parameters"]
seen = json.dumps([one["response"] for one in given.values()])
number = zlib.crc32(f"{leaf['tag']}|{seen}".encode())
if leaf["fails"] and (number >> 8) % leaf["fails"] == 0:
    sys.exit(f"{leaf['tag']} failed")
if leaf["kind"] == "dict":
    print(json.dumps({"k": number % 10, "l": [(number >> 3 * place) % 10 for place in range(number % 4)]}))
else:
    print(f"{leaf['tag']}-{number % 100}" + (" {{ 7*7 }}" if number % 5 == 0 else ""))
