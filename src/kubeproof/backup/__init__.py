"""Backups of etcd: made, kept, carried off the host, proven and restored. docs/backups.md says what they are."""
