"""Count the words of a text.

Parameters:
    least (int, optional): Words with fewer letters are left out; 1 unless given.

Returns:
    An object with `words`, how many there are, and `longest`, one of the longest.
"""

import json
import sys

told = json.load(sys.stdin)
least = told["parameters"].get("least", 1)
words = [word for word in told["input"].split() if len(word) >= least]
if not words:
    print(json.dumps({"success": False, "error": f"no word has {least} letters or more"}))
else:
    print(json.dumps({"success": True, "words": len(words), "longest": max(words, key=len)}))
