"""How time and memory grow: the parts of `benches/scaling.py`."""
