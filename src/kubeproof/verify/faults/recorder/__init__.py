"""Runs on a host, as one file: asks the API and an application without a pause, and writes down what it was told."""
