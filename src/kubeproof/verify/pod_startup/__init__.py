"""A pod's start, step by step, from what every component involved has recorded."""
