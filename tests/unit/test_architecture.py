"""Who may import whom (ARCHITECTURE.md), read from the syntax trees."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("bench", "codec_zoo", "semanticodec")

#: Package -> which of our modules it may import. The longest matching prefix counts.
ALLOWED = {
    "semanticodec": ("semanticodec",),
    "codec_zoo": ("codec_zoo", "semanticodec"),
    "bench.metrics": ("bench.metrics", "bench.audio", "bench.errors"),
    "bench.metrics.functional": ("bench.metrics.functional",),
    "bench.stats": ("bench.stats", "bench.results", "bench.errors"),
    "bench.reporting": (
        "bench.reporting",
        "bench.stats",
        "bench.results",
        "bench.audio",
        "bench.errors",
    ),
    "bench.audio": ("bench.errors",),
    "bench.errors": (),
    "bench.store": ("bench.errors",),
    "bench.results": ("bench.errors", "bench.schema", "bench.store", "bench.stats"),
    "bench.clips": ("bench.audio", "bench.errors"),
    "bench.schema": ("bench.errors",),
    "bench.archives": ("bench.errors",),
    "bench.download": ("bench.errors",),
    "bench.loaders": ("bench.clips", "bench.schema", "bench.audio", "bench.errors"),
    "bench.datasets": (
        "bench.archives",
        "bench.clips",
        "bench.loaders",
        "bench.schema",
        "bench.audio",
        "bench.errors",
    ),
    "bench.fetch": ("bench.archives", "bench.datasets", "bench.download", "bench.errors"),
    "bench.coding": ("bench.audio", "bench.errors", "codec_zoo"),
    "bench.analysis.entropy": (),
    "bench.analysis.damage": ("codec_zoo",),
    "bench.probes.made": (),
    "bench.probes.logmel": ("bench.audio", "bench.metrics.functional"),
    "bench.probes.probing": ("bench.probes.tasks", "bench.stats"),
    "bench": ("bench", "codec_zoo"),
}
#: Third-party packages that would make a cheap part dear.
FORBIDDEN = {
    "bench.stats": ("torch",),
    "bench.reporting": ("torch",),
    "bench.results": ("torch",),
    "bench.metrics": ("torch", "torchaudio", "librosa"),
    "bench.analysis": ("torch",),
    "bench.probes": ("torch",),
    "": ("torchaudio", "timm", "einops", "librosa"),
}


def modules() -> dict[str, Path]:
    found = {}
    for root in (ROOT, ROOT / "codecs"):
        for package in OURS:
            for path in (root / package).rglob("*.py"):
                name = ".".join(path.relative_to(root).with_suffix("").parts)
                found[name.removesuffix(".__init__")] = path
    return found


def imports(path: Path) -> set[str]:
    """Every module a file imports, at any depth; ``from a import b`` gives both a and a.b."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def rule_for(module: str, rules: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    fitting = [name for name in rules if _within(module, name)]
    return rules[max(fitting, key=len)] if fitting else ()


def _within(module: str, package: str) -> bool:
    return package == "" or module == package or module.startswith(package + ".")


@pytest.mark.parametrize("module", sorted(modules()))
def test_imports_follow_the_picture(module):
    path = modules()[module]
    allowed = rule_for(module, ALLOWED)
    known = modules()
    for name in imports(path):
        target = name if name in known else name.rpartition(".")[0]
        if name.split(".")[0] not in OURS or target not in known or target == "bench":
            continue
        assert any(_within(target, prefix) for prefix in allowed), f"{module} imports {name}"


@pytest.mark.parametrize("module", sorted(modules()))
def test_no_forbidden_package(module):
    names = imports(modules()[module])
    for package, forbidden in FORBIDDEN.items():
        if _within(module, package):
            assert not {name for name in names if name.split(".")[0] in forbidden}, module


def test_rules_bite():
    assert rule_for("bench.metrics.functional.mel", ALLOWED) == ("bench.metrics.functional",)
    assert not any(_within("codec_zoo", prefix) for prefix in rule_for("bench.stats.x", ALLOWED))


def test_codecs_is_no_package():
    assert not (ROOT / "codecs" / "__init__.py").exists()
