"""Runs on a host, as one file: sends requests to the API and an application continuously, and records the responses."""
