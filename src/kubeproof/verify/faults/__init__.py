"""Faults put into a running cluster while clients record what they ask of it and what it answers."""
