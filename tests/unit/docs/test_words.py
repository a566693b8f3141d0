"""One word per thing: what docs/glossary.md replaced is not used again where operators and contributors read.

Only prose is looked at: comments and descriptions of roles and playbooks, names of plays and tasks, claims, pages, help
texts, errors, what is reported, and docstrings and comments of all code, tests included. Code in backquotes or ``C()``
has the names that programs have.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]

# What is refused, and the word to use instead.
RETIRED = {
    r"authorit(y|ies)": "CA",
    r"(the|its|their|etcd's) lead": "leader, or leadership",
    r"(hand(s|ed|ing)? (\w+ ){0,2}|take(s|n)? the lead )over": "leadership transfer",
    r"handover": "leadership transfer",
    r"(held|holds?|holding|stands?|stood) still": "paused",
    r"mend(s|ed|ing)?": "repair, remediation, or recover",
    r"told": "reported, notified, configured",
    r"(begins?|begun|began|starts?|made|makes?) anew": "again, recreate, bootstrap",
    r"by hand": "manually",
    r"(?<!load )balancers?": "load balancer",
    r"in (their |its )?turns": "rolling restart, one host at a time",
    r"(is|are|be) let in": "authenticated, or anonymous requests are allowed",
    r"(go|goes|going|went) on": "continue, keep, resume",
    r"(is|are|was|were) away": "down, stopped, unreachable",
    r"shunned": "tainted",
    r"(is|are) not to be had": "not available",
}
# In what is read by those who run a cluster these are refused besides.
UNCLEAR = {
    r"nobody": "the subject, or the passive voice",
    r"whoever": "the subject",
    r"so (many|much|far|long) (and|of|at|as the)\b": "the number, or the unit",
    r"beside": "next to, besides",
}
# By path and word: what has to stay, and why.
EXCEPTIONS = {
    ("docs/settings.md", "balancer"): "a heading is the name of a role",
}
_MARKUP = re.compile(r"``[^`]*``|`[^`]*`|[A-Z]\([^)]*\)|<!--.*?-->|\{\{.*?\}\}|https?://\S+")


def prose(text: str) -> str:
    """Text without the names of programs, files and settings in it."""
    return _MARKUP.sub(" ", text)


def comments(path: Path) -> Iterator[str]:
    """Comments of a YAML file or a template, names of plays and tasks, descriptions of units."""
    for line in path.read_text().splitlines():
        name = re.match(r"(?:\s*- name: |Description=)(.+)", line)
        comment = re.search(r"(?:^|\s)#\s(.*)", line)
        yield from (found[1] for found in (name, comment) if found)


def descriptions(text: str) -> Iterator[str]:
    """All prose of an argument specification, or of a plugin's documentation."""
    waiting = [yaml.safe_load(text)]
    for found in waiting:
        if isinstance(found, Mapping):
            for key in ("short_description", "description", "details", "notes"):
                value = found.get(key, "")
                # An option may have that name as well.
                yield from (str(each) for each in (value if isinstance(value, list) else [value]))
            waiting += found.values()


def documentation(path: Path) -> Iterator[str]:
    """What ansible-doc shows of a plugin."""
    if path.suffix == ".yml":
        yield from descriptions(path.read_text())
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            name, text = node.targets[0], str(node.value.value)
            if isinstance(name, ast.Name) and name.id.isupper() and "description:" in text:
                yield from descriptions(text)


def pages(path: Path) -> Iterator[str]:
    """The paragraphs of a page, without its listings."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    yield from text.split("\n\n")


def docstrings(path: Path) -> Iterator[str]:
    """Docstrings of a module and of all that is in it, and its comments, those on several lines as one."""
    text = path.read_text()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from filter(None, [ast.get_docstring(node)])
    last = 0
    block: list[str] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            if token.start[0] != last + 1:
                yield " ".join(block)
                block = []
            block.append(token.string.lstrip("# "))
            last = token.start[0]
    yield " ".join(block)


def messages(path: Path) -> Iterator[str]:
    """Texts of errors, their hints, and help texts of the command line."""
    for node in ast.walk(ast.parse(path.read_text())):
        texts = isinstance(node, ast.Raise) or (
            isinstance(node, ast.keyword) and node.arg in ("hint", "help", "description", "epilog")
        )
        for part in ast.walk(node) if texts else ():
            if isinstance(part, ast.Constant) and isinstance(part.value, str) and " " in part.value:
                yield part.value


def strings(path: Path) -> Iterator[str]:
    """All texts in code, which is what verifications and campaigns of faults report; names have no blank in them."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.value


def claims(path: Path) -> Iterator[str]:
    """What claims say."""
    for component in yaml.safe_load(path.read_text())["components"]:
        for claim in component["claims"]:
            yield from (str(claim[key]) for key in ("statement", "why", "untested") if key in claim)


def retired(texts: Iterable[str], words: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Each word in the texts that was retired, what to write instead, and the text."""
    for text in texts:
        for pattern, instead in words.items():
            for hit in re.finditer(rf"(?<![\w./-])(?:{pattern})(?![\w/-])", prose(text), re.IGNORECASE):
                yield hit[0].lower(), instead, " ".join(text.split())[:100]


def refused(texts: Iterable[str], path: Path, words: Mapping[str, str]) -> list[str]:
    """What is wrong with the texts of a file, and what to write instead."""
    name = str(path.relative_to(ROOT))
    return [
        f"{name}: {word!r}; write {instead}: {text}"
        for word, instead, text in retired(texts, words)
        if (name, word) not in EXCEPTIONS
    ]


def files(*patterns: str) -> list[Path]:
    """Files of the project, links left out: they are looked at where they lead."""
    return sorted(
        path for pattern in patterns for path in ROOT.glob(pattern) if path.is_file() and not path.is_symlink()
    )


def test_roles_playbooks_and_schemas_use_the_words_of_the_glossary() -> None:
    found = []
    for path in files(
        *("roles/*/*/*.yml", "roles/*/templates/**/*.j2", "playbooks/**/*.yml", "molecule/**/*.yml"),
        *("inventory/*/*.yml", "components/*.yml", "tests/architecture/*.yml", "kubeproof", ".ci/run"),
    ):
        found += refused(comments(path), path, RETIRED | UNCLEAR)
    for path in files("roles/*/meta/argument_specs.yml", "docs/*.json"):
        found += refused(descriptions(path.read_text()), path, RETIRED | UNCLEAR)
    assert found == []


def test_ansible_doc_uses_the_words_of_the_glossary() -> None:
    found = []
    for path in files("plugins/*/*.py", "plugins/*/*.yml"):
        found += refused(documentation(path), path, RETIRED | UNCLEAR)
    assert found == []


def test_pages_use_the_words_of_the_glossary() -> None:
    found = []
    for path in files("*.md", "docs/**/*.md", "tests/README.md"):
        found += refused(pages(path), path, RETIRED | UNCLEAR)
    assert found == []


def test_claims_and_reports_use_the_words_of_the_glossary() -> None:
    found = []
    for path in files("tests/architecture/claims.yml"):
        found += refused(claims(path), path, RETIRED | UNCLEAR)
    for path in files(
        "src/kubeproof/**/*.py", *(f"tests/{suite}/*.py" for suite in ("architecture", "saboteurs", "faults"))
    ):
        found += refused(strings(path), path, RETIRED)
    assert found == []


def test_errors_and_help_use_the_words_of_the_glossary() -> None:
    found = []
    for path in files("src/kubeproof/**/*.py", "plugins/**/*.py"):
        found += refused(messages(path), path, RETIRED)
    assert found == []


def test_docstrings_and_comments_use_the_words_of_the_glossary() -> None:
    found = []
    for path in files(*(f"{top}/**/*.py" for top in ("src", "plugins", "tests", "tools", "bench"))):
        found += refused(docstrings(path), path, RETIRED)
    assert found == []


def test_comments_on_several_lines_are_one_text(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text("# The member's data by\n# hand.\nx = 1  # Which goes\n\n# on.\ndef _f():\n    'Mend it.'\n")
    assert [text for text in docstrings(path) if text] == ["Mend it.", "The member's data by hand. Which goes", "on."]
    assert [word for word, _, _ in retired(docstrings(path), RETIRED)] == ["mend", "by hand"]


@pytest.mark.parametrize(
    ("text", "refuses"),
    [
        ("The cluster's authorities.", True),
        ("An `authority` in YAML, and C(pki_authority_days).", False),
        ("Hand over etcd's lead", True),
        ("The load balancer before the API servers.", False),
        ("The balancer before the API servers.", True),
        ("kube-balancer.service is started.", False),
        ("The leader is restarted.", False),
    ],
)
def test_only_prose_is_looked_at(text: str, refuses: bool) -> None:
    assert bool(refused([text], ROOT / "README.md", RETIRED)) == refuses


@pytest.mark.parametrize(("path", "word"), EXCEPTIONS)
def test_exceptions_are_needed(path: str, word: str) -> None:
    assert word in {hit for hit, _, _ in retired(pages(ROOT / path), RETIRED | UNCLEAR)}
