"""Upgrades and the way back: what runs, what is wanted, the steps between them, and what is in the way."""
