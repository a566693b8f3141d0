"""How a cluster is looked at: its API, hosts, etcd, runtime, logs."""
