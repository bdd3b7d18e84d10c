"""`python -m recurra`: the command `recurra`."""

from recurra.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
