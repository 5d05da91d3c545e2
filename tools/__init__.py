"""The programs behind `make`, a room for each purpose; run as `python -m tools.ROOM.PROGRAM` from the repository.

Arrows run down only: `verify` uses `book` and `export`, these use `runs`, and all use what lies beside this file.
"""
