"""Which components an inventory's hosts get: the options that fetching and distributing them have in common."""

from __future__ import annotations


class ModuleDocFragment:
    """For ``fetch_components`` and ``distribute_components``, which must be given the same."""

    DOCUMENTATION = r"""
options:
  versions:
    description:
      - Versions by component that override those pinned in C(components/components.yml). The setting
        C(component_versions).
    type: dict
    default: {}
  backup_targets:
    description:
      - Where backups are copied to, as in the setting C(backup_targets). With a target of type V(s3), etcd
        hosts need rclone.
    type: list
    elements: dict
    default: []
  network_policy_engine:
    description: The setting of that name. With V(kube-router), nodes need its program.
    type: str
    default: none
  pod_network:
    description: Pod network of the cluster, as in the setting C(pod_network_plugin). V(flannel) is a program on
      nodes, V(calico) and V(cilium) are manifests.
    type: str
    default: ''
  addons:
    description: Add-ons that are switched on, for example V(metrics_server). Nodes need their images.
    type: list
    elements: str
    default: []
  runtime:
    description: Container runtime of the nodes, as in the setting C(container_runtime). They need its programs.
    type: str
    default: containerd
  pods:
    description:
      - Components that run as pods, by name, for example V(kube-apiserver). An image is built from each one's binary.
    type: list
    elements: str
    default: []
"""
