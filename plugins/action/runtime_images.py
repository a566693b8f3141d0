"""Import images into a host's container runtime, unless the host has just reported that they are there."""

from __future__ import annotations

from typing import Any

from kubeproof.install.action import Action

# As the module has them.
_CTR, _SOCKET = "/usr/local/bin/ctr", "/run/containerd/containerd.sock"


class ActionModule(Action):
    """Ask the host only if it has not said already."""

    _VALID_ARGS = frozenset(("images", "releases_former", "ctr", "socket"))

    def act(self) -> dict[str, Any]:
        arguments = dict(self._arguments)
        images = arguments.get("images") or []
        if not images:
            return {"changed": False, "changes": []}
        ctr, socket = arguments.get("ctr", _CTR), arguments.get("socket", _SOCKET)
        # An archive may be written again without another image in it.
        files = [str(image["archive"]) for image in images]
        names = [f"{ctr} {socket} {image['reference']}" for image in images]
        settle = self._settle(arguments, {"images": names, "files": files})
        if self._look.task(settle["digest"]) is not None:
            return {"changed": False, "changes": []}
        answer = self._module({**arguments, "_settle": settle})
        if self._task.check_mode and not answer.get("failed"):
            # With static pods two plays import a control-plane host's images.
            changes = self._pending.news(answer["changes"])
            self._pending.add(changes)
            answer |= {"changed": bool(changes), "changes": changes}
        return answer
