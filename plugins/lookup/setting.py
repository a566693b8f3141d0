"""``lookup('setting', 'etcd_data_directory')``: a setting of a role that the play does not have."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

from kubeproof.settings import resolve, specs

DOCUMENTATION = """
name: setting
author: The kubeproof authors
short_description: Get the value of a setting of any role
description:
  - Returns the value in the inventory, or the default of the role that the setting belongs to. Ansible knows a role's
    defaults only in plays with the role; this lookup knows them everywhere, so that they need not be repeated.
options:
  _terms:
    description: Names of settings, see C(docs/settings.md).
    type: list
    elements: str
    required: true
"""

EXAMPLES = """
- ansible.builtin.debug:
    msg: "{{ lookup('setting', 'etcd_data_directory') }}"
"""

RETURN = """
_raw:
  description: The values, rendered.
  type: list
  elements: raw
"""


class LookupModule(LookupBase):  # type: ignore[misc]
    """Reads variables as the task sees them, with all roles' defaults below them."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **_: Any) -> list[Any]:
        """Raises AnsibleLookupError for a name that is no setting."""
        unknown = [term for term in terms if term not in specs.load().options]
        if unknown:
            raise AnsibleLookupError(f"setting: {', '.join(unknown)} is no setting of any role")
        known = {**resolve.defaults(), **(variables or {})}
        templar = self._templar.copy_with_new_env(available_variables=known)
        return [templar.template(known[term]) for term in terms]
