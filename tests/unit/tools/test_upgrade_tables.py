"""The table of flags and gates is what the sources say, where they are there."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from tools import upgrade_tables

SOURCE = """
const (
	// owner: @somebody
	New featuregate.Feature = "New"
	OldGate featuregate.Feature = "Old"
	Loose string = "NoGate"
)

var gates = map[featuregate.Feature]featuregate.VersionedSpecs{
	New: {
		{Version: version.MustParse("1.35"), Default: false, PreRelease: featuregate.Alpha},
		{Version: version.MustParse("1.36"), Default: true, PreRelease: featuregate.GA, LockToDefault: true}, // 1.39
	},

	features.OldGate: {
		{Version: version.MustParse("1.35"), Default: false, LockToDefault: true, PreRelease: featuregate.Alpha},
		{Version: version.MustParse("1.36"), Default: true, PreRelease: featuregate.Beta},
	},
	Unused: {Default: true, PreRelease: featuregate.Beta},
}

func (o *Options) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.Name, "name-of-it", o.Name, "Its name.")
	fs.BoolVarP(&o.Quiet, "quiet", "q", false, ""+
		"Whether it is quiet.")
	fs.Var(cliflag.NewMapStringBool(&o.Map), "a-map", "A map.")
	fs.MarkDeprecated("name-of-it", "it goes")
	klog.InfoS("nothing", "key", 1)
}
"""


def test_gates() -> None:
    assert upgrade_tables.gates([SOURCE]) == ({"New", "Old"}, {"New": True})


def test_flags() -> None:
    assert upgrade_tables.flags([SOURCE]) == {"name-of-it", "quiet", "a-map"}


@pytest.mark.parametrize("version", upgrade_tables.VERSIONS)
def test_the_table_is_what_the_sources_say(version: str) -> None:
    go = shutil.which("go")
    if go is None:
        pytest.skip("there is no Go")
    cache = subprocess.run([go, "env", "GOMODCACHE"], check=True, capture_output=True, text=True).stdout.strip()
    found = upgrade_tables.table(Path(cache) / "k8s.io", version)
    if found is None:
        pytest.skip(f"the sources of {version} are not downloaded")
    assert json.loads(upgrade_tables.TABLE.read_text())[version.rpartition(".")[0]] == found
