"""Upgrades and the way back: what runs, what is wanted, the steps between them, and what is in the way.

``survey`` has all that was asked, and ``plan`` unfolds it: the turns up to the end, as if each went well, one
``order.next_turn`` after the other. ``acts`` are these turns as plays of ``playbooks/upgrade.yml``. What an upgrade is
about is noted (``record``), and nothing else: the next run looks again, and continues with what is left.
"""
