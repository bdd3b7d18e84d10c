"""Keep the scripts that make the numbers out of doctest collection: they need the peers."""

collect_ignore_glob = ["mak*.py"]
