"""`python -m tests.mutants`."""

from __future__ import annotations

from tests.mutants.run import main

if __name__ == "__main__":
    main()
