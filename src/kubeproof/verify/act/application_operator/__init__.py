"""An operator as applications have them: a program that manages Applications, a kind of its own, for tests.

``program`` is what runs, in two processes on the controller; ``election`` decides which of them acts, ``gate`` has the
webhook that judges Applications, in pods, and renews its certificate; ``instances`` starts and kills the processes.
"""
