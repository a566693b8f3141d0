"""What ``kubeproof upgrade`` asks of the playbook."""

from __future__ import annotations

import argparse

import pytest

from kubeproof.cli import upgrade


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["run"], {}),
        (["back"], {"upgrade_direction": "back"}),
        (["back", "--until", "emulate"], {"upgrade_direction": "back", "upgrade_until": "emulate"}),
        (["rehearse"], {"upgrade_until": "rehearsal", "upgrade_rehearsal": True}),
        (
            ["rehearse", "--back"],
            {"upgrade_direction": "back", "upgrade_until": "rehearsal", "upgrade_rehearsal": True},
        ),
    ],
)
def test_settings(words: list[str], wanted: dict[str, object]) -> None:
    parser = argparse.ArgumentParser()
    upgrade.add_parser(parser.add_subparsers())
    assert upgrade.settings(parser.parse_args(["upgrade", *words])) == wanted
