"""Upgrades and the way back: what runs, what is wanted, the steps between them, and what is in the way.

Who carries out an upgrade looks (``look.world``), notes what it is about (``plan.begun``), and then, again and again:
stops if ``refusals.check`` has errors, asks ``order.next_turn`` with the kinds of its own turns so far, has hosts do
that turn, and looks once more. Nothing else is remembered, so that any other run can continue at any point.
"""
