"""The pins: every component and image, its version, who needs it, and where it comes from (``components.yml``)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from kubeproof.components.document import DocumentError, Section
from kubeproof.core import fast_yaml
from kubeproof.core.errors import KubeproofError

ROOT = Path(__file__).resolve().parents[3] / "components"

ARCHITECTURES = ("amd64", "arm64")
DIRECTORIES = ("bin", "cni")
GROUPS = ("etcd", "control_plane", "workers")
NODE_GROUPS = ("control_plane", "workers")
# What settings make hosts need besides; like groups to which these hosts belong. backup_s3: etcd's hosts, if one of
# backup_targets is S3-compatible storage. network_policy: nodes, if network_policy_engine is not none.
# pod_network_flannel, …: nodes, if that is their pod_network_plugin. ADDONS: nodes, if that add-on is switched on.
# RUNTIMES: nodes, if that is their container_runtime.
BACKUP_S3 = "backup_s3"
NETWORK_POLICY = "network_policy"
FLANNEL = "pod_network_flannel"
CALICO = "pod_network_calico"
CILIUM = "pod_network_cilium"
# By pod_network_plugin.
NETWORKS = {"flannel": FLANNEL, "calico": CALICO, "cilium": CILIUM}
ADDONS = ("metrics_server", "metallb", "gateway_api", "traefik", "local_path", "gvisor")
# By container_runtime: nodes, if that is theirs.
CONTAINERD = "containerd"
RUNTIMES = (CONTAINERD, "crio", "docker")
USES = (BACKUP_S3, NETWORK_POLICY, *NETWORKS.values(), *ADDONS, *RUNTIMES)
# Go's names of what `uname -m` says.
MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
# And what `uname -m` says where Go has that name.
_UNAMES = {"amd64": "x86_64", "arm64": "aarch64"}

_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?")
# Tags of images may have two numbers.
_IMAGE_VERSION = re.compile(r"[0-9]+\.[0-9]+(\.[0-9]+)?(-[0-9A-Za-z.-]+)?")
_MINOR = re.compile(r"[0-9]+\.[0-9]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Binary:
    """One executable. ``groups``: the groups (or ``USES``) whose hosts need it; none if it only goes into an image.

    With ``version_arguments`` it prints ``version_output``. If it knows no version, these are ``None``, and that is
    printed by ``go version -m``: the compiler has noted which module it is of.
    """

    name: str
    groups: frozenset[str]
    version_arguments: tuple[str, ...] | None
    version_output: str


@dataclass(frozen=True)
class Release:
    """An official download: templates of its URL, its checksum file's and a binary's path in an archive.

    ``sha256`` pins the download's bytes by architecture, where they are known. ``checksums`` is empty if none are
    published; with ``first_download`` the first one counts then, as its host proves by TLS to have sent it.
    ``pinned_by``: who says what ``sha256`` is.
    """

    url: str
    checksums: str
    member: str
    sha256: Mapping[str, str]
    first_download: bool = False
    pinned_by: str = "components.yml"


@dataclass(frozen=True)
class ModuleCopy:
    """A copy of a Go module with files of ours in it, by which go.mod replaces that module.

    ``sum`` is the module's, as go.sum has those of others. ``directory``: in ours, where our files are and the copy is
    made.
    """

    module: str
    version: str
    sum: str
    directory: str


@dataclass(frozen=True)
class GoBuild:
    """A build from ``components/go/MODULE/VERSION``: package by binary, build tags, and linker stamps by variable.

    ``cold_seconds`` is what it takes with an empty Go cache on two cores; progress is shown against it. ``of`` is the
    module whose version counts, if the packages are main programs of our own. ``test``: the binaries are the packages'
    tests, as `go test -c` compiles them. ``copies``: modules of which the build has copies with files of our own.
    ``always``: it is built whatever the source is, because there is no release of it that could be taken.
    """

    module: str
    packages: Mapping[str, str]
    tags: tuple[str, ...]
    stamps: Mapping[str, str]
    cgo: bool
    cold_seconds: int
    of: str = ""
    test: bool = False
    copies: tuple[ModuleCopy, ...] = ()
    always: bool = False


NO_BUILD = GoBuild(module="", packages={}, tags=(), stamps={}, cgo=False, cold_seconds=0)
"""Of a component that is downloaded, and never built here."""


@dataclass(frozen=True)
class Manifests:
    """Files of a component's Go module that are applied into the cluster: package path and name, or a pattern of names.

    ``groups``: the groups (or ``USES``) in whose clusters they are.
    """

    groups: frozenset[str]
    files: tuple[str, ...]


@dataclass(frozen=True)
class Component:
    """A component of one version. ``directory`` is where its binaries go: see ``DIRECTORIES``.

    ``go`` is ``NO_BUILD`` for one that is not built here.
    """

    name: str
    version: str
    directory: str
    binaries: Mapping[str, Binary]
    release: Release | None
    go: GoBuild
    manifests: Manifests | None = None

    def needed(self, groups: Collection[str]) -> tuple[Binary, ...]:
        """The binaries that hosts of ``groups`` need."""
        return tuple(binary for binary in self.binaries.values() if not binary.groups.isdisjoint(groups))

    @property
    def can_be_built(self) -> bool:
        """Whether there is a Go module of it here."""
        return bool(self.go.module)

    def module_file(self, name: str) -> str:
        """A file of the Go module that it is built of, for people."""
        return f"components/go/{self.go.module}/{self.version}/{name}"

    def text(self, template: str, *, arch: str = "", binary: str = "") -> str:
        """``template`` with this component's version and the rest filled in."""
        return expand(template, self.version, arch=arch, binary=binary)


@dataclass(frozen=True)
class ModuleFile:
    """A file of a Go module: ``source`` is package path and file name; ``path`` its place in the image."""

    module: str
    source: str
    path: str


@dataclass(frozen=True)
class LocalImage:
    """How an image is made here. Its program is a built binary, or one C file compiled with ``flags``."""

    binary: str
    c: ModuleFile | None
    flags: tuple[str, ...]
    path: str
    files: tuple[ModuleFile, ...]
    links: Mapping[str, str]
    directories: tuple[str, ...]
    user: str
    entrypoint: tuple[str, ...]
    arguments: tuple[str, ...]
    ports: tuple[str, ...]


@dataclass(frozen=True)
class Image:
    """A container image of one version.

    ``component``: the component whose binary it is made of, here and whatever the source, to run that one as a pod;
    empty for an image of a registry. ``groups``: the inventory groups (or ``USES``) whose hosts need it.
    ``version_of``: the component whose version it has, if it has none of its own. ``registry`` is empty if none is
    known that has it.
    """

    name: str
    version: str
    registry: str
    repository: str
    tag: str
    local: LocalImage
    component: str = ""
    groups: tuple[str, ...] = NODE_GROUPS
    version_of: str = ""

    def reference(self, registry: str = "") -> str:
        """The image's name in its own registry, or in one that mirrors it under the same repository.

        Raises KubeproofError if it is in no registry that is known.
        """
        if not (registry or self.registry):
            named = f"{self.repository}:{expand(self.tag, self.version)}"
            raise KubeproofError(
                f"no registry is known here that has the image {named}",
                hint="set component_image_registry to one that has it, or component_source to go",
            )
        return f"{(registry or self.registry).rstrip('/')}/{self.repository}:{expand(self.tag, self.version)}"

    @property
    def local_reference(self) -> str:
        """The name of an image that was made here: it must not claim to be what the registry has."""
        return f"localhost/kubeproof/{self.name}:{self.version}"


@dataclass(frozen=True)
class Published:
    """What a project publishes to be applied into a cluster, in one version: a manifest, or a chart (``.tgz``).

    It is for all architectures, its images are of registries, and there is no build of it. ``sha256`` pins its bytes,
    where they are known. ``groups``: the inventory groups (or ``USES``) whose hosts need it.
    """

    name: str
    version: str
    url: str
    sha256: str
    groups: tuple[str, ...]

    @property
    def location(self) -> str:
        """The URL of this version."""
        return expand(self.url, self.version)

    @property
    def is_chart(self) -> bool:
        """Whether it takes Helm to make manifests of it."""
        return self.url.endswith(".tgz")


# Components whose minor versions count: by minor version, the versions of others that go with it.
Sets = Mapping[str, Mapping[str, Mapping[str, str]]]


@dataclass(frozen=True)
class Misfit:
    """A component or image (``member``) in another version than that of the set of ``leader``."""

    member: str
    version: str
    leader: str
    leader_version: str
    fitting: str


@dataclass(frozen=True)
class PortablePython:
    """The Python for hosts that have none: an official build, and the packages of Debian that make another one.

    Of the former ``build`` is its date; ``url`` and ``checksums`` name version, build and machine in braces; ``sha256``
    pins its bytes by architecture, where they are known.
    """

    version: str
    build: str
    url: str
    checksums: str
    sha256: Mapping[str, str]
    suite: str
    packages: tuple[str, ...]

    def text(self, template: str, machine: str) -> str:
        """``template`` filled in, for a machine as ``uname -m`` has it."""
        return template.format(version=self.version, build=self.build, machine=machine)


@dataclass(frozen=True)
class Pins:
    """All components, images and manifests. ``root`` is the directory of ``components.yml``.

    ``chosen``: the versions that are not those of ``components.yml``, nor follow from its sets.
    """

    root: Path
    components: Mapping[str, Component]
    images: Mapping[str, Image]
    sets: Sets = field(default_factory=dict)
    chosen: Mapping[str, str] = field(default_factory=dict)
    published: Mapping[str, Published] = field(default_factory=dict)
    python: PortablePython | None = None

    def with_versions(self, versions: Mapping[str, str]) -> Pins:
        """The same pins with other versions of some of them, whose pinned checksums no longer apply.

        What is in a set follows. Raises KubeproofError if there is no such component, or no set of its minor version.
        """
        for name, version in versions.items():
            self._check_override(name, version)
        chosen = {**self.chosen, **versions}
        wanted = {**self._following(chosen), **chosen}
        components, images, published = dict(self.components), dict(self.images), dict(self.published)
        for name, version in wanted.items():
            component, image, manifest = components.get(name), images.get(name), published.get(name)
            if manifest and manifest.version != version:
                published[name] = replace(manifest, version=version, sha256="")
            if component and component.version != version:
                release = component.release and replace(component.release, sha256={})
                components[name] = replace(component, version=version, release=release)
            if image and image.version != version:
                images[name] = replace(image, version=version)
        for name, image in images.items():
            if image.version_of:
                images[name] = replace(image, version=components[image.version_of].version)
        return replace(self, components=components, images=images, published=published, chosen=chosen)

    def with_sha256(self, given: Mapping[str, Any]) -> Pins:
        """The same pins with checksums that the user has verified, by component and architecture.

        Raises KubeproofError for one of something that does not come as one download for each architecture.
        """
        components = dict(self.components)
        for name, digests in given.items():
            component = components.get(name)
            release = component.release if component else None
            if component is None or release is None or "{binary}" in release.url:
                known = [
                    each.name
                    for each in self.components.values()
                    if each.release and "{binary}" not in each.release.url
                ]
                raise KubeproofError(f"component_sha256: {name!r} is not one download; known are {', '.join(known)}")
            if not isinstance(digests, Mapping) or not all(_is_digest(*each) for each in digests.items()):
                raise KubeproofError(
                    f"component_sha256: {name}: {digests!r} is not of the form {{amd64: SHA-256}}",
                    hint="write the architecture, amd64 or arm64, and 64 hexadecimal digits in lower case, as "
                    "sha256sum prints them",
                )
            pinned = {**release.sha256, **{str(arch): str(digest) for arch, digest in digests.items()}}
            components[name] = replace(component, release=replace(release, sha256=pinned, pinned_by="component_sha256"))
        return replace(self, components=components)

    def misfits(self) -> list[Misfit]:
        """What is in another version than that of its set: ``with_versions`` was asked for it."""
        found = []
        for leader in self.sets:
            leading = self.components[leader].version
            for member, fitting in self._members(leader, leading).items():
                version = (self.components.get(member) or self.images[member]).version
                if version != fitting:
                    found.append(Misfit(member, version, leader, leading, fitting))
        return found

    def _following(self, chosen: Mapping[str, str]) -> dict[str, str]:
        """Versions that follow from those of the components that lead a set."""
        following: dict[str, str] = {}
        for leader in self.sets:
            following |= self._members(leader, chosen.get(leader) or self.components[leader].version)
        return following

    def _members(self, leader: str, version: str) -> Mapping[str, str]:
        minors = self.sets[leader]
        members = minors.get(minor_of(version))
        if members is None:
            raise KubeproofError(
                f"{leader} {version} is not supported: this kubeproof installs {_listed(minors)}",
                hint="choose a release of one of these in component_versions, "
                "or the kubeproof whose components/components.yml has a set of its minor version",
            )
        return members

    def owner(self, binary: str) -> Component:
        """The component whose build makes ``binary``."""
        for component in self.components.values():
            if binary in component.go.packages:
                return component
        raise KubeproofError(f"no component builds a binary {binary!r}")

    def built_of(self, module: str) -> Component:
        """The component that is built of a Go module of ours, and whose version is the module's."""
        for component in self.components.values():
            if component.go.module == module:
                return component
        raise KubeproofError(f"no component is built of a Go module {module!r}")

    def module_directory(self, component: Component) -> Path:
        """Where the Go module of a component's version is, if there is one."""
        return self.root / "go" / component.go.module / component.version

    def module_versions(self, component: Component) -> list[str]:
        """The versions of a component of which there are Go modules, the oldest first."""
        if not component.can_be_built:
            return []
        found = (path.parent.name for path in (self.root / "go" / component.go.module).glob("*/go.mod"))
        return sorted(found, key=lambda version: [int(number) for number in re.findall(r"\d+", version)])

    def verified_by(self, image: LocalImage) -> str:
        """What vouches for the content of an image that is made here."""
        if not image.c:
            return f"the build of {image.binary}"
        return self.built_of(image.c.module).module_file("go.sum")

    def _check_override(self, name: str, version: str) -> None:
        known = {
            *self.components,
            *self.published,
            *(name for name, image in self.images.items() if not image.version_of),
        }
        if name not in known:
            raise KubeproofError(
                f"component_versions: {name!r} is not a component; known are {', '.join(sorted(known))}"
            )
        pattern = _IMAGE_VERSION if name in self.images and name not in self.components else _VERSION
        if not isinstance(version, str) or not pattern.fullmatch(version):
            raise KubeproofError(
                f"component_versions: {name}: {version!r} is not a version",
                hint='write it as three numbers in quotes and without a "v", for example "1.36.3"',
            )


def load(root: Path = ROOT) -> Pins:
    """Read and check ``root/components.yml``. Raises DocumentError, which names the file and the place in it."""
    path = root / "components.yml"
    try:
        document = fast_yaml.load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise DocumentError(f"{path}: {error}") from error
    top = Section(path.name, "", document)
    schema = top.integer("schema")
    if schema != 1:
        raise top.fail("schema", f"is {schema}; this kubeproof reads 1")
    parts = dict(top.section("components").named_sections())
    sets = _sets(top.section("sets"), parts)
    given: dict[str, str] = {}
    for leader, minors in sets.items():
        given |= minors.get(minor_of(_version(parts[leader])), {})
    components = {name: _component(name, section, given.get(name)) for name, section in parts.items()}
    images = {
        name: _image(name, section, components, given.get(name))
        for name, section in top.section("images").named_sections()
    }
    published = top.optional_section("published")
    listed = {name: _published(name, section) for name, section in published.named_sections()} if published else {}
    python = top.optional_section("python")
    portable = _python(python) if python else None
    top.close()
    # Also checks that every set has one for the version that is pinned.
    return Pins(root, components, images, sets, published=listed, python=portable).with_versions({})


def minor_of(version: str) -> str:
    """The minor version of a release: ``1.36`` of ``1.36.3``."""
    return ".".join(version.split(".")[:2])


def expand(template: str, version: str, *, arch: str = "", binary: str = "") -> str:
    """Fill in what a text of ``components.yml`` may name in braces."""
    minor = version.split(".")[1]
    return template.format(version=version, minor=minor, arch=arch, machine=_UNAMES.get(arch, arch), binary=binary)


def _sets(section: Section, components: Mapping[str, Section]) -> Sets:
    sets: dict[str, dict[str, dict[str, str]]] = {}
    for leader, minors in section.named_sections():
        if leader not in components:
            raise section.fail(leader, "is no component")
        sets[leader] = {}
        for minor, _ in minors.named_sections():
            if not (_MINOR.fullmatch(minor) and minors.has(minor)):
                raise minors.fail(minor, 'must be a minor version in quotes, like "1.36"')
            members = minors.mapping_of_texts(minor)
            for member, version in members.items():
                if not _IMAGE_VERSION.fullmatch(version):
                    raise minors.fail(f"{minor}.{member}", f"must be a version without a v, not {version!r}")
            sets[leader][minor] = members
    return sets


def _listed(minors: Iterable[str]) -> str:
    *others, last = minors
    return f"{', '.join(others)} and {last}" if others else last


def _component(name: str, section: Section, of_set: str | None) -> Component:
    binaries = {key: _binary(key, part) for key, part in section.section("binaries").named_sections()}
    release, go = section.optional_section("release"), section.optional_section("go")
    component = Component(
        name=name,
        version=_version(section, of_set),
        directory=_choice(section, "directory", DIRECTORIES, default="bin"),
        binaries=binaries,
        release=_release(release) if release else None,
        go=_go(go) if go else NO_BUILD,
        manifests=_manifests(section.optional_section("manifests")),
    )
    unbuilt = sorted(set(binaries) - set(component.go.packages))
    if unbuilt and go:
        raise section.fail("go.packages", f"has no package for {', '.join(unbuilt)}")
    if not release and not component.go.always and component.needed((*GROUPS, *USES)):
        raise section.fail("release", "is missing, but hosts need its binaries")
    section.close()
    return component


def _binary(name: str, section: Section) -> Binary:
    groups = _groups(section, section.texts("groups"))
    arguments = section.texts("version_arguments") if section.has("version_arguments") else None
    binary = Binary(name, frozenset(groups), arguments, section.text("version_output"))
    _check_template(section, "version_output", binary.version_output)
    section.close()
    return binary


def _manifests(section: Section | None) -> Manifests | None:
    if section is None:
        return None
    manifests = Manifests(frozenset(_groups(section, section.texts("groups"))), section.texts("files"))
    section.close()
    return manifests


def _groups(section: Section, groups: tuple[str, ...]) -> tuple[str, ...]:
    known = (*GROUPS, *USES)
    unknown = sorted(set(groups) - set(known))
    if unknown:
        raise section.fail("groups", f"names {', '.join(unknown)}; known are {', '.join(known)}")
    return groups


def _release(section: Section) -> Release:
    release = Release(
        url=section.text("url"),
        checksums=section.text("checksums") if section.has("checksums") else "",
        member=section.text("member", "{binary}"),
        sha256=section.mapping_of_texts("sha256", {}),
        first_download=section.flag("first_download", default=False),
    )
    if release.first_download and (release.checksums or "{binary}" in release.url):
        raise section.fail("first_download", "is for one download of a release that publishes no checksums")
    for key, template in (("url", release.url), ("checksums", release.checksums), ("member", release.member)):
        _check_template(section, key, template)
    for key in ("url", *(["checksums"] if release.checksums else [])):
        if not section.text(key).startswith("https://"):
            raise section.fail(key, "must start with https://")
    _check_digests(section, release.sha256)
    section.close()
    return release


def _go(section: Section) -> GoBuild:
    packages = section.mapping_of_texts("packages")
    build = GoBuild(
        module=section.text("module"),
        packages=packages,
        tags=section.texts("tags", ()),
        stamps=section.mapping_of_texts("stamps", {}),
        cgo=section.flag("cgo", default=False),
        cold_seconds=section.integer("cold_seconds"),
        of=section.text("of", next(iter(packages.values()), None)),
        test=section.flag("test", default=False),
        copies=tuple(_module_copy(each) for each in section.sections("copies")),
        always=section.flag("always", default=False),
    )
    for name, template in build.stamps.items():
        _check_template(section, f"stamps.{name}", template)
    section.close()
    return build


def _module_copy(section: Section) -> ModuleCopy:
    copy = ModuleCopy(*(section.text(key) for key in ("module", "version", "sum", "directory")))
    section.close()
    return copy


def _image(name: str, section: Section, components: Mapping[str, Component], of_set: str | None) -> Image:
    if section.has("component"):
        return _component_image(name, section, components)
    version_of = _existing(section, "version_of", components) if section.has("version_of") else ""
    image = Image(
        name=name,
        version=components[version_of].version if version_of else _version(section, of_set, _IMAGE_VERSION),
        registry=section.text("registry") if section.has("registry") else "",
        repository=section.text("repository"),
        tag=section.text("tag"),
        local=_local_image(section.section("local")),
        groups=_groups(section, section.texts("groups", NODE_GROUPS)),
        version_of=version_of,
    )
    _check_template(section, "tag", image.tag)
    section.close()
    return image


def _published(name: str, section: Section) -> Published:
    manifest = Published(
        name=name,
        version=_version(section),
        url=section.text("url"),
        sha256=section.text("sha256") if section.has("sha256") else "",
        groups=_groups(section, section.texts("groups")),
    )
    _check_template(section, "url", manifest.url)
    if not manifest.url.startswith("https://"):
        raise section.fail("url", "must start with https://")
    if manifest.sha256 and not _SHA256.fullmatch(manifest.sha256):
        raise section.fail("sha256", "must be 64 hexadecimal digits in lower case")
    section.close()
    return manifest


def _python(section: Section) -> PortablePython:
    release, packages = section.section("release"), section.section("debian")
    python = PortablePython(
        version=_version(section),
        build=release.text("build"),
        url=release.text("url"),
        checksums=release.text("checksums"),
        sha256=release.mapping_of_texts("sha256", {}),
        suite=packages.text("suite"),
        packages=packages.texts("packages"),
    )
    for key, template in (("url", python.url), ("checksums", python.checksums)):
        try:
            python.text(template, "")
        except (KeyError, IndexError, ValueError) as error:
            raise release.fail(key, f"names {error} in braces; known are version, build and machine") from error
        if not template.startswith("https://"):
            raise release.fail(key, "must start with https://")
    _check_digests(release, python.sha256)
    for part in (release, packages, section):
        part.close()
    return python


def _check_digests(section: Section, digests: Mapping[str, str]) -> None:
    for arch, digest in digests.items():
        if not _is_digest(arch, digest):
            raise section.fail(f"sha256.{arch}", "must be amd64 or arm64 with 64 hexadecimal digits in lower case")


def _is_digest(arch: object, digest: object) -> bool:
    return arch in ARCHITECTURES and isinstance(digest, str) and _SHA256.fullmatch(digest) is not None


def _component_image(name: str, section: Section, components: Mapping[str, Component]) -> Image:
    component = _existing(section, "component", components)
    groups = section.texts("groups")
    local = _local_image(section.section("local"))
    section.close()
    return Image(name, components[component].version, "", "", "", local, component, groups, version_of=component)


def _existing(section: Section, key: str, components: Mapping[str, Component]) -> str:
    name = section.text(key)
    if name not in components:
        raise section.fail(key, f"is {name!r}, of which there is none")
    return name


def _local_image(section: Section) -> LocalImage:
    program = section.section("program")
    source = program.optional_section("c")
    c = _module_file(source) if source else None
    local = LocalImage(
        binary="" if c else program.text("binary"),
        c=c,
        flags=program.texts("flags", ()),
        path=c.path if c else program.text("path"),
        files=tuple(_module_file(file) for file in section.sections("files")),
        links=section.mapping_of_texts("links", {}),
        directories=section.texts("directories", ()),
        user=section.text("user", "0:0"),
        entrypoint=section.texts("entrypoint"),
        arguments=section.texts("arguments", ()),
        ports=section.texts("ports", ()),
    )
    program.close()
    section.close()
    return local


def _module_file(section: Section) -> ModuleFile:
    file = ModuleFile(section.text("module"), section.text("source"), section.text("path"))
    section.close()
    return file


def _version(section: Section, of_set: str | None = None, pattern: re.Pattern[str] = _VERSION) -> str:
    if of_set and section.has("version"):
        raise section.fail("version", f"is {of_set} by a set, and must not be given here")
    version = of_set or section.text("version")
    if not pattern.fullmatch(version):
        raise section.fail("version", f"must be three numbers without a v, like 1.36.3, not {version!r}")
    return version


def _choice(section: Section, key: str, choices: Collection[str], *, default: str) -> str:
    value = section.text(key, default)
    if value not in choices:
        raise section.fail(key, f"must be one of {', '.join(choices)}, not {value!r}")
    return value


def _check_template(section: Section, key: str, template: str) -> None:
    try:
        expand(template, "0.0.0")
    except (KeyError, IndexError, ValueError) as error:
        raise section.fail(
            key, f"names {error} in braces; known are version, minor, arch, machine and binary"
        ) from error
