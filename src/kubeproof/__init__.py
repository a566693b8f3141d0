"""kubeproof: every Kubernetes component from its own binaries, and proof that the cluster is what it should be."""
