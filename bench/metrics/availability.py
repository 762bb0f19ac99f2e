"""Whether the packages behind a metric are installed, and what to type where they are not."""

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec


def missing_modules(remedy: str, *modules: str) -> str | None:
    """Return why a metric cannot run, with the remedy, or None if every module can be found.

    Example:
        >>> missing_modules("pip install sdist", "json", "no_such_module")
        'no_such_module is not installed: pip install sdist'
    """
    absent = [name for name in modules if find_spec(name) is None]
    if not absent:
        return None
    verb = "is" if len(absent) == 1 else "are"
    return f"{', '.join(absent)} {verb} not installed: {remedy}"


def package_version(name: str) -> str:
    """Return the version of an installed package, ``missing`` where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
