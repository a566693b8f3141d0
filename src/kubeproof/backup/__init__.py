"""Backups of etcd: saved, kept, copied off the host, proven and restored. See docs/operations/backups.md."""
