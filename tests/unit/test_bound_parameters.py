"""What comes from outside reaches SQL as a bound parameter, never as a part of the statement's text (issue 5, 7)."""

import ast
from collections.abc import Iterator

import pytest

from tests.unit.test_architecture import Module, modules

RAW = {"text", "exec_driver_sql", "literal_column", "DDL", "SQL"}
"""Calls whose first argument is SQL as text, whatever it is made of."""
OURS = {"_rows", "_run"}
"""Methods of ours in the store that hand their first argument on as such text."""
EXECUTES = {"execute", "executemany", "stream", "copy", "op"}
"""Calls that take such text too, and mostly take statements that the library builds."""

QUOTES = {"Identifier", "Literal"}
"""What the driver itself writes into a statement, in quotes."""

ALLOWED = {
    "etl/cli/demo.py:asking": "the demo's proof asks questions that are constants of etl/cli/proof.py",
    "etl/store/day_sums.py:_ask": "one of two constants of the module",
    "etl/store/grants.py:grant": "what _written made of constants and a quoted name",
    "etl/store/grants.py:_written": "constants of the module, and names of tables out of the catalogue",
    "etl/store/repositories/exports.py:digits": "names of columns of our own views, out of the catalogue",
    "etl/store/repositories/lists.py:_rows": "constants of the module; the values of the filters are bound",
    "etl/store/repositories/retention.py:why_needed": "names of partitions that a pattern of the query has let through",
    "etl/store/repositories/retention.py:detach": "as above; DDL takes no parameters",
    "etl/store/repositories/retention.py:drop": "as above",
    "etl/store/schema.py:_say_works_from": "the constant of a migration; COMMENT takes no parameters",
    "etl/store/target.py:make": "constants of target_tables",
    "etl/store/target.py:_run": "constants of this module and of target_tables; what is put in is quoted by the driver",
    "etl/store/target_tables.py:_declared": "the name of a type of our own contract",
}
"""Where SQL is made of more than constants, by module and function, and why that may be."""


Scope = ast.FunctionDef | ast.AsyncFunctionDef | ast.Module


def scopes(module: Module) -> Iterator[tuple[str, Scope, list[ast.AST]]]:
    """Yield each function and the module itself, with the nodes that stand in it and in no function within."""
    waiting: list[tuple[str, Scope]] = [(module.path, module.tree)]
    while waiting:
        name, scope = waiting.pop()
        inside: list[ast.AST] = []
        open_nodes: list[ast.AST] = list(ast.iter_child_nodes(scope))
        while open_nodes:
            node = open_nodes.pop()
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                waiting.append((f"{module.path}:{node.name}", node))
                open_nodes += node.decorator_list
            else:
                inside.append(node)
                open_nodes += ast.iter_child_nodes(node)
        yield name, scope, inside


class Texts:
    """Tells of the expressions of one scope whether their text is fixed when the program starts."""

    def __init__(self, scope: Scope, inside: list[ast.AST]) -> None:
        self._given: dict[str, list[ast.expr]] = {}
        self.texts: set[str] = set()
        if not isinstance(scope, ast.Module):
            arguments = scope.args
            for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
                if each.annotation is not None and "str" in ast.unparse(each.annotation):
                    self.texts.add(each.arg)
        for node in inside:
            match node:
                case ast.Assign(targets=targets, value=value):
                    for target in targets:
                        self._note(target, value)
                case (
                    ast.AnnAssign(target=target, value=ast.expr() as value)
                    | ast.NamedExpr(target=target, value=value)
                    | ast.AugAssign(target=target, value=value)
                    | ast.For(target=target, iter=value)
                    | ast.comprehension(target=target, iter=value)
                ):
                    self._note(target, value)

    def _note(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self._given.setdefault(target.id, []).append(value)

    def fixed(self, node: ast.expr, seen: frozenset[str] = frozenset()) -> bool:
        """Whether the text is made of literals and constants alone, however they are put together."""
        match node:
            case ast.Constant():
                return True
            case ast.Name(id=name) | ast.Attribute(attr=name) if name.strip("_").isupper():
                return True
            case ast.Name(id=name):
                given = self._given.get(name, [])
                return name in seen or bool(given) and all(self.fixed(each, seen | {name}) for each in given)
            case ast.JoinedStr(values=parts):
                return all(self.fixed(each, seen) for each in parts)
            case ast.FormattedValue(value=value) | ast.Subscript(value=value):  # which picks one, and adds nothing
                return self.fixed(value, seen)
            case ast.BinOp(left=left, op=ast.Add() | ast.Mod(), right=right):
                return self.fixed(left, seen) and self.fixed(right, seen)
            case ast.IfExp(body=one, orelse=other):
                return self.fixed(one, seen) and self.fixed(other, seen)
            case ast.Tuple(elts=several) | ast.List(elts=several):
                return all(self.fixed(each, seen) for each in several)
            case ast.GeneratorExp(elt=one) | ast.ListComp(elt=one):
                return self.fixed(one, seen)
            case ast.Call(func=ast.Attribute(attr=name)) if name in QUOTES:
                return True
            case ast.Call(
                func=ast.Attribute(value=ast.Call(func=ast.Attribute(attr="SQL"), args=[text]), attr="format" | "join")
            ):
                return self.fixed(text, seen)  # the driver quotes what is put in
            case ast.Call(func=ast.Attribute(value=text, attr="as_string")):
                return self.fixed(text, seen)
            case ast.Call(func=ast.Attribute(value=text, attr="format" | "join"), args=args, keywords=named):
                return all(self.fixed(each, seen) for each in (text, *args, *(each.value for each in named)))
        return False

    def put_together(self, node: ast.expr, seen: frozenset[str] = frozenset()) -> bool:
        """Whether the expression is text that is put together, or text that was handed in."""
        match node:
            case ast.JoinedStr():
                return True
            case ast.Call(func=ast.Attribute(attr="format" | "join")):
                return True
            case ast.BinOp(left=left, op=ast.Add() | ast.Mod(), right=right):
                return any(isinstance(each, ast.Constant) or self.put_together(each, seen) for each in (left, right))
            case ast.IfExp(body=one, orelse=other):
                return self.put_together(one, seen) or self.put_together(other, seen)
            case ast.Name(id=name) if name not in seen:
                given = self._given.get(name, [])
                return name in self.texts or any(self.put_together(each, seen | {name}) for each in given)
        return False


def loose(module: Module) -> list[tuple[str, str]]:
    """Return each place where SQL is put together from more than constants, and what stands there."""
    found = []
    for name, scope, inside in scopes(module):
        texts = Texts(scope, inside)
        for node in inside:
            if not isinstance(node, ast.Call) or not node.args:
                continue
            func, sql = node.func, node.args[0]
            called = func.attr if isinstance(func, ast.Attribute) else func.id if isinstance(func, ast.Name) else ""
            raw = called in (RAW | OURS if module.part == "store" else RAW) or (
                called in EXECUTES and texts.put_together(sql)
            )
            if raw and not texts.fixed(sql):
                found.append((name, f"{module.at(node, called)}({ast.unparse(sql)})"))
    return found


def test_sql_is_made_of_constants_and_all_else_is_bound():
    found = [each for module in modules() for each in loose(module)]

    assert [said for name, said in found if name not in ALLOWED] == []
    assert {name for name, _ in found} == set(ALLOWED)  # no permission is left over


@pytest.mark.parametrize(
    "body",
    [
        "run(text(f'SELECT * FROM stp.trade WHERE trade_id = {name!r}'))",
        "run(text('SELECT * FROM stp.trade WHERE trade_id = ' + name))",
        "run(text('SELECT * FROM stp.trade WHERE trade_id = %s' % name))",
        "run(text('SELECT * FROM stp.trade WHERE trade_id = {}'.format(name)))",
        "run(text(name))",
        "run(exec_driver_sql(name))",
        "statement = 'SELECT ' + name\n    connection.exec_driver_sql(statement)",
        "statement = 'SELECT 1'\n    statement += name\n    run(text(statement))",
        "for each in name.split():\n        run(text(each))",
        "cursor.execute(f'SELECT {name}')",
        "cursor.execute(name)",
        "cursor.execute('SELECT %s' % name, ())",
        "cursor.copy('COPY ' + name)",
        "run(sql.SQL(name))",
        "run(sql.SQL('SELECT {}'.format(name)).format())",
        "column.op(name)(1)",
        "run(literal_column(f'{name}'))",
        "run(text(f'SELECT {WHAT.format(where=name)}'))",
        "run(text('SELECT ' + ', '.join(name)))",
    ],
)
def test_text_that_is_put_together_is_found(body):
    (found,) = loose(Module("etl/store/x.py", f"def f(name: str):\n    {body}\n"))

    assert found[0] == "etl/store/x.py:f"


@pytest.mark.parametrize(
    "body",
    [
        "run(text('SELECT * FROM stp.trade WHERE trade_id = :name'), {'name': name})",
        "run(text(f'{SELECT} WHERE trade_id = :name'), {'name': name})",
        "run(text(f'SELECT * FROM ({QUESTIONS[name]}) AS q'))",
        "where = ' AND '.join(CONDITIONS[each] for each in name)\n    run(text(f'{SELECT} WHERE {where}'))",
        "cursor.execute(sql.SQL('SELECT {}').format(sql.Identifier(name)))",
        "cursor.execute(select(row.id).where(row.name == name))",
        "log.info('job.finished', what=f'{name}')",
        "execute(job, name)",
    ],
)
def test_constants_and_bound_values_are_let_through(body):
    assert loose(Module("etl/store/x.py", f"def f(name: str):\n    {body}\n")) == []
