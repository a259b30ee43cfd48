"""Docstrings name the arguments that there are, one by one: the API reference is made of them."""

import ast
import re
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / 'mae_plugin'


def documented(docstring: str) -> list[str]:
    """Names in the section Args."""
    section = re.search(r'^Args:\n((?:\n|    .*\n?)*)', docstring, re.MULTILINE)
    if not section:
        return []
    names = re.findall(r'^    (\S[^:]*?)(?: \([^)]*\))?:', section[1], re.MULTILINE)
    return [name.lstrip('*') for name in names]


def signature(node: ast.FunctionDef) -> set[str]:
    args = node.args
    every = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
    return {arg.arg for arg in every if arg is not None}


def wrong_names(tree: ast.Module) -> list[str]:
    wrong = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            known = signature(node)
        elif isinstance(node, ast.ClassDef):
            inits = [
                n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == '__init__'
            ]
            fields = {n.target.id for n in node.body if isinstance(n, ast.AnnAssign)}
            known = set().union(*map(signature, inits)) | fields
        else:
            continue
        names = documented(ast.get_docstring(node) or '')
        wrong += [f'{node.name}: {name}' for name in names if name not in known]
    return wrong


def test_every_documented_argument_is_one():
    wrong = {
        path.relative_to(PACKAGE).as_posix(): names
        for path in sorted(PACKAGE.rglob('*.py'))
        if (names := wrong_names(ast.parse(path.read_text(encoding='utf-8'))))
    }
    assert wrong == {}


def test_two_names_in_one_line_are_found():
    source = 'def f(a, b):\n    """Sum.\n\n    Args:\n        a, b: Numbers.\n    """\n'
    assert wrong_names(ast.parse(source)) == ['f: a, b']
