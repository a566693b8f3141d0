"""How the cluster's API is reached from the controller: kubeconfigs, which server is ready, kubectl."""
