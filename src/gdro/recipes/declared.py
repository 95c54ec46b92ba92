"""Fields of a dataclass of another package, read from its source: an import would take seconds."""

from __future__ import annotations

import ast
from importlib.util import find_spec, resolve_name
from pathlib import Path

_MOST_STEPS = 16  # from module to module; packages that import a name from each other have no end


def declared_fields(module: str, name: str, steps: int = _MOST_STEPS) -> set[str]:
    """Names of the fields of a class and of those that it derives from.

    Args:
        module: Name of the module that defines the class, e.g. `trl.trainer.grpo_config`.
        name: Name of the class.
        steps: Modules that may be read on the way to it and to those that it derives from.

    Returns:
        The names; an empty set if a class is not where it was looked for, or is made by a program.
    """
    source = _source(module) if steps else None
    tree = ast.parse(source.read_bytes()) if source is not None else ast.Module([], [])
    definition = next((n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name), None)
    if definition is None:
        inside = source is not None and source.name == "__init__.py"
        origin = _imported(tree, name, module if inside else module.rpartition(".")[0])
        return declared_fields(*origin, steps - 1) if origin is not None else set()
    fields = {
        n.target.id
        for n in definition.body
        if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
    }
    for base in definition.bases:
        named = isinstance(base, ast.Name)
        inherited = declared_fields(module, base.id, steps - 1) if named else set[str]()
        if not inherited:
            return set()
        fields |= inherited
    return fields


def _source(module: str) -> Path | None:
    """The file of a module; only its package is looked up, whose code does not run for that."""
    package, *parts = module.split(".")
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations if spec is not None else None) or []:
        path = Path(folder, *parts)
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return file
    return None


def _imported(tree: ast.Module, name: str, package: str) -> tuple[str, str] | None:
    """The module and name of what a module of a package imports under a name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    relative = "." * node.level + node.module
                    return resolve_name(relative, package), alias.name
    return None
