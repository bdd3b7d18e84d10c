"""What `compare.py` is made of: rows, contestants, timing, and the report."""
