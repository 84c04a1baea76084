"""Others' formats into tools: what each reader makes of a small document, and of any document at all."""

import hashlib
import json
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch import run as command_line
from retriever.base.bad_entries import BadEntries
from retriever.base.errors import DataError, UserError
from retriever.catalogue import Catalogue
from retriever.readers.docstrings import parse_docstring
from retriever.readers.place import callable_name
from retriever.readers.read import FORMATS, read_tools
from retriever.schemas import parameters_problem
from retriever.tools import ToolDoc

EMPTY = {"type": "object", "properties": {}}


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(content) if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def read(path: Path, **settings: Any) -> list[ToolDoc]:
    return [tool for file in read_tools(path, **settings) for tool in file.tools]


def function(name: str, parameters: Any = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "description": f"Does {name}", "parameters": parameters or EMPTY, **more}


class TestOpenAI:
    @pytest.mark.parametrize(
        "document",
        [
            [{"type": "function", "function": function("pay", strict=True)}],
            [{"type": "function", **function("pay")}],
            [function("pay")],
            function("pay"),
            {"model": "gpt", "messages": [], "tools": [{"type": "function", "function": function("pay")}]},
            {"functions": [function("pay")]},
        ],
    )
    def test_a_function_is_read_in_every_form(self, tmp_path: Path, document: Any) -> None:
        (tool,) = read(write(tmp_path / "shop.json", document))
        assert tool == ToolDoc(id="shop/pay", name="pay", description="Does pay", parameters=EMPTY, tags=("shop",))

    def test_a_function_a_line_and_one_without_parameters(self, tmp_path: Path) -> None:
        lines = [function("a"), {"type": "function", "function": {"name": "b"}}, {"type": "function", "name": "c"}]
        found = read(write(tmp_path / "shop.jsonl", "\n".join(map(json.dumps, lines))))
        assert [(tool.id, tool.description) for tool in found] == [("shop/a", "Does a"), ("shop/b", ""), ("shop/c", "")]
        assert [tool.parameters for tool in found] == [EMPTY, EMPTY, EMPTY]

    def test_what_is_wrong_is_named_by_its_place(self, tmp_path: Path) -> None:
        documents = {
            "a tool of type 'web_search' is no function": {"type": "web_search"},
            "[1].function.name': expected a printable name, got None": {"type": "function", "function": {}},
            "[1].function.parameters': expected a JSON schema, got [1]": {
                "type": "function",
                "function": {"name": "x", "parameters": [1]},
            },
            "[1]': its parameters: not a JSON schema: properties/n/type": function(
                "x", {"type": "object", "properties": {"n": {"type": "elephant"}}}
            ),
            "[1].description': expected a text, got 5": {**function("x"), "description": 5},
            "[1]': expected an object, got 'x'": "x",
        }
        for says, wrong in documents.items():
            path = write(tmp_path / "shop.json", [function("ok"), wrong])
            with pytest.raises(DataError) as raised:
                read(path)
            assert says in str(raised.value)
            bad = BadEntries()
            assert [tool.id for tool in read(path, on_bad=bad)] == ["shop/ok"]
            assert [str(error) for error in bad.first] == [str(raised.value)]

    def test_bfcl_names_types_of_python_and_java(self, tmp_path: Path) -> None:
        properties = {
            "ratio": {"type": "float", "description": "r"},
            "pair": {"type": "tuple", "items": {"type": "Integer"}},
            "map": {"type": "HashMap", "properties": {"type": {"type": "String"}}},
            "either": {"type": ["int", "str", "string"]},
            "free": {"type": "any", "default": {"type": "dict"}},
        }
        record = {
            "id": "java_0",
            "question": [[{"role": "user", "content": "?"}]],
            "function": [function("math.area", {"type": "dict", "properties": properties, "required": ["ratio"]})],
        }
        (tool,) = read(write(tmp_path / "BFCL.json", record))
        assert (tool.id, tool.name) == ("BFCL/math.area", "math_area")
        assert tool.parameters == {
            "type": "object",
            "properties": {
                "ratio": {"type": "number", "description": "r"},
                "pair": {"type": "array", "items": {"type": "integer"}},
                "map": {"type": "object", "properties": {"type": {"type": "string"}}},
                "either": {"type": ["integer", "string"]},
                "free": {"default": {"type": "dict"}},
            },
            "required": ["ratio"],
        }

    def test_bfcls_records_repeat_functions(self, tmp_path: Path) -> None:
        other = {**function("area"), "description": "Another"}
        records = [
            {"id": "simple_0", "function": [function("area")]},
            {"id": "simple_1", "function": [function("area"), function("sum")]},
            {"id": "simple_2", "function": other},
        ]
        found = read(write(tmp_path / "BFCL_v3.json", "\n".join(map(json.dumps, records))))
        assert [tool.id for tool in found] == ["BFCL_v3/area", "BFCL_v3/sum", "BFCL_v3/area~simple_2"]
        assert [tool.name for tool in found] == ["area", "sum", "area"]

    def test_names_become_callable(self) -> None:
        assert callable_name("math.fac/torial of-n_1") == "math_fac_torial_of-n_1"
        assert callable_name("é" + "x" * 99) == "_" + "x" * 63


LISTED = {
    "name": "search/issues",
    "title": "Search issues",
    "description": "By words",
    "inputSchema": {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {"q": {"type": "string"}, "box": {"type": "array", "items": [{"type": "number"}]}},
        "required": ["q"],
    },
    "annotations": {"readOnlyHint": True},
}


class TestMCP:
    @pytest.mark.parametrize(
        "document",
        [
            {"tools": [LISTED], "nextCursor": None},
            {"jsonrpc": "2.0", "id": 1, "result": {"tools": [LISTED]}},
            [LISTED],
            {"tools": [{("input_schema" if key == "inputSchema" else key): value for key, value in LISTED.items()}]},
        ],
    )
    def test_a_listing_is_read_in_every_form(self, tmp_path: Path, document: Any) -> None:
        (tool,) = read(write(tmp_path / "github.json", document))
        assert (tool.id, tool.name) == ("github/search/issues", "search_issues")
        assert (tool.description, tool.origin, tool.tags) == ("Search issues\nBy words", "mcp", ("github",))
        assert tool.parameters == {
            "type": "object",
            "properties": {"q": {"type": "string"}, "box": {"type": "array", "prefixItems": [{"type": "number"}]}},
            "required": ["q"],
        }

    def test_a_tool_without_arguments_or_without_a_schema(self, tmp_path: Path) -> None:
        path = write(tmp_path / "m.json", {"tools": [{"name": "a", "inputSchema": {}}, {"name": "b"}]})
        bad = BadEntries()
        (tool,) = read(path, on_bad=bad)
        assert tool.parameters == EMPTY
        assert str(bad.first[0]).endswith(
            "field 'tools[1]': inputSchema is missing; a tool without arguments has {}",
        )


class TestVersions:
    """A tool that changed is another one to a record of calls."""

    def test_a_python_tools_version_is_its_files(self, tmp_path: Path) -> None:
        path = write(tmp_path / "shop.py", "def one() -> int:\n    return 1\n")
        (one,) = read(path)
        assert one.version == hashlib.sha256(b"def one() -> int:\n    return 1\n").hexdigest()[:12]
        assert read(path) == [one]
        (two,) = read(write(path, "def one() -> int:\n    return 2\n"))
        assert two.version != one.version
        assert replace(two, version=one.version) == one

    def test_a_function_of_another_file_is_of_both(self, tmp_path: Path) -> None:
        inner = write(tmp_path / "inner_of_shop.py", "def pay(): return 1")
        path = write(tmp_path / "shop.py", "from inner_of_shop import *\n__all__ = ['pay']")
        (before,) = read(path)
        write(inner, "def pay(): return 2")
        (after,) = read(path)
        assert after.version != before.version

    def test_a_function_around_no_function_has_a_version_too(self, tmp_path: Path) -> None:
        code = """\
            from functools import wraps
            class _Size:
                def __call__(self, text: str) -> int:
                    return len(text)
            @wraps(_Size())
            def size(text: str) -> int:
                return len(text)
            size.__module__ = __name__
        """
        (tool,) = read(write(tmp_path / "shop.py", code))
        assert len(tool.version) == 12

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("summary: A pet", "summary: The pet"),
            ("a/b: {type: string", "a/b: {type: integer"),  # by two references
            ("summary: One pet", "summary: Some pet"),  # of the path
            ("version: 2020-01-01", "version: 2021-01-01"),
        ],
    )
    def test_an_operations_version_is_its_definitions(self, tmp_path: Path, old: str, new: str) -> None:
        path = tmp_path / "pets.yaml"
        before = {tool.id: tool.version for tool in read(write(path, PETS))}
        assert {tool.id: tool.version for tool in read(write(path, f"# a comment\n{textwrap.dedent(PETS)}"))} == before
        after = {tool.id: tool.version for tool in read(write(path, PETS.replace(old, new)))}
        changed = {
            "summary: A pet": {"pets/pets.get"},
            "a/b: {type: string": {"pets/PUT /pets/{id}"},
            "summary: One pet": {"pets/pets.get", "pets/PUT /pets/{id}"},
            "version: 2020-01-01": set(before),
        }
        assert {id for id in before if after[id] != before[id]} == changed[old]

    def test_a_listed_tools_version_is_its_definitions(self, tmp_path: Path) -> None:
        path = tmp_path / "m.json"
        (before,) = read(write(path, [LISTED]))
        assert len(before.version) == 12
        assert read(write(path, [dict(reversed(LISTED.items()))])) == [before]
        (after,) = read(write(path, [{**LISTED, "outputSchema": {"type": "object"}}]))
        assert after.version != before.version
        assert replace(after, version=before.version) == before

    def test_our_own_form_keeps_what_it_says(self, tmp_path: Path) -> None:
        lines = (
            '{"id": "a", "name": "a", "description": "", "version": "7"}\n{"id": "b", "name": "b", "description": ""}'
        )
        assert [tool.version for tool in read(write(tmp_path / "tools.jsonl", lines))] == ["7", "1"]


PETS = """\
    openapi: 3.0.3
    info: {title: Pets, version: 2020-01-01}
    paths:
      x-note: not a path
      /pets/{id}:
        summary: One pet
        parameters:
          - {name: id, in: path, required: true, schema: {type: integer}, description: of the path}
          - {name: lang, in: header, schema: {type: string}}
        get:
          operationId: pets.get
          summary: A pet
          description: With all it has.
          tags: [pets, animals]
          parameters:
            - {name: id, in: query, schema: {type: string, nullable: true, enum: [a, b]}}
            - {name: lang, in: header, required: true, schema: {type: string, example: en}}
            - {name: Authorization, in: header, schema: {type: string}}
            - {$ref: '#/components/parameters/Limit'}
        put:
          requestBody: {$ref: '#/components/requestBodies/Pet'}
      /upload:
        post:
          operationId: upload
          requestBody: {content: {text/csv: {schema: {type: string}}, application/json: {schema: {type: array}}}}
    components:
      parameters:
        Limit: {name: limit, in: query, schema: {type: integer, minimum: 0, exclusiveMinimum: true}}
      requestBodies:
        Pet: {required: true, content: {application/json: {schema: {$ref: '#/components/schemas/Pet'}}}}
      schemas:
        Named: {type: object, required: [name], properties: {name: {type: string}, id: {readOnly: true}}}
        Pet:
          allOf:
            - {$ref: '#/components/schemas/Named'}
            - {required: [kind]}
          properties: {kind: {$ref: '#/components/schemas/a~1b'}, parent: {$ref: '#/components/schemas/Pet'}}
        a/b: {type: string, nullable: true}
"""


class TestOpenAPI:
    def test_each_operation_is_a_tool(self, tmp_path: Path) -> None:
        get, put, upload = read(write(tmp_path / "pets.yaml", PETS))
        assert (get.id, get.name, get.origin) == ("pets/pets.get", "pets_get", "http")
        assert (get.description, get.tags) == ("A pet\nWith all it has.", ("pets", "animals"))
        assert get.parameters == {
            "type": "object",
            "properties": {
                "id": {"type": "integer", "description": "of the path"},
                "lang": {"type": "string", "examples": ["en"]},
                "id_query": {"type": ["string", "null"], "enum": ["a", "b", None]},
                "limit": {"type": "integer", "exclusiveMinimum": 0},
            },
            "required": ["id", "lang"],
        }
        assert (put.id, put.name, put.tags) == ("pets/PUT /pets/{id}", "put_pets_id", ("pets",))
        assert upload.parameters == {"type": "object", "properties": {"body": {"type": "array"}}}

    def test_a_body_is_merged_and_what_it_refers_to_is_carried_in_circles_too(self, tmp_path: Path) -> None:
        _, put, _ = read(write(tmp_path / "pets.yaml", PETS))
        kind, parent = {"$ref": "#/$defs/a_1b"}, {"$ref": "#/$defs/Pet"}
        assert put.parameters == {
            "type": "object",
            "properties": {
                "id": {"type": "integer", "description": "of the path"},
                "lang": {"type": "string"},
                "name": {"type": "string"},
                "kind": kind,
                "parent": parent,
            },
            "required": ["id", "name", "kind"],
            "$defs": {
                "a_1b": {"type": ["string", "null"]},
                "Pet": {
                    "allOf": [{"$ref": "#/$defs/Named"}, {"required": ["kind"]}],
                    "properties": {"kind": kind, "parent": parent},
                },
                "Named": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {"name": {"type": "string"}, "id": {"readOnly": True}},
                },
            },
        }

    @pytest.mark.parametrize(
        ("schema", "says"),
        [
            ({"$ref": "#/components/schemas/Gone"}, "leads nowhere in the document"),
            ({"$ref": "pets.yaml#/Pet"}, "leaves the document; bundle"),
            ({"$ref": "#/components/schemas/Loop"}, "comes back to itself"),
            ({"$ref": "#/components/schemas/Knot"}, "is nested too deeply"),
            ({"type": "object", "properties": {"id_body": {}, "id": {}}}, "two arguments are called 'id_body'"),
            ({"type": "object", "properties": {"id": {"type": "elephant"}}}, "not a JSON schema"),
        ],
    )
    def test_what_cannot_be_followed_is_named_and_does_not_hang(
        self, tmp_path: Path, schema: dict[str, Any], says: str
    ) -> None:
        loop = {"$ref": "#/components/schemas/Loop"}
        body = {"content": {"application/json": {"schema": schema}}}
        places = [{"name": "id", "in": "path"}, {"name": "id", "in": "query"}]
        document = {
            "openapi": "3.1.0",
            "paths": {"/a": {"post": {"parameters": places, "requestBody": body}, "get": {}}},
            "components": {"schemas": {"Loop": loop, "Knot": {"allOf": [{"$ref": "#/components/schemas/Knot"}]}}},
        }
        path = write(tmp_path / "api.json", document)
        with pytest.raises(DataError) as raised:
            read(path)
        assert says in str(raised.value)
        assert "paths./a.post" in str(raised.value)
        bad = BadEntries()
        assert [tool.id for tool in read(path, on_bad=bad)] == ["api/GET /a"]
        assert bad.count == 1

    def test_parts_that_many_refer_to_are_looked_at_once(self, tmp_path: Path) -> None:
        """Each level refers to the next twice: 2^40 ways down."""
        reference = "#/components/schemas/L{}".format
        schemas: dict[str, Any] = {
            f"L{level}": {"allOf": [{"$ref": reference(level + 1)}, {"$ref": reference(level + 1)}]}
            for level in range(40)
        }
        schemas["L40"] = {"type": "object", "properties": {"name": {"type": "string"}}}
        body = {"content": {"application/json": {"schema": {"$ref": reference(0)}}}}
        document = {
            "openapi": "3.1.0",
            "paths": {"/a": {"post": {"requestBody": body}}},
            "components": {"schemas": schemas},
        }
        (found,) = read(write(tmp_path / "api.json", document))
        assert [*found.parameters["properties"]] == ["name"]

    @pytest.mark.parametrize(
        ("reference", "says"),
        [("#/paths/" + "9" * 5_000, "leads nowhere"), ("#/servers/" + "9" * 5_000, "leads nowhere")],
    )
    def test_a_place_that_cannot_be_is_named(self, tmp_path: Path, reference: str, says: str) -> None:
        body = {"content": {"application/json": {"schema": {"$ref": reference}}}}
        document = {"openapi": "3.1.0", "servers": [], "paths": {"/a": {"post": {"requestBody": body}}}}
        with pytest.raises(DataError, match=says):
            read(write(tmp_path / "api.json", document))

    def test_aliases_that_stand_for_millions_are_refused(self, tmp_path: Path) -> None:
        lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
        lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
        (tmp_path / "api.yaml").write_text("\n".join(lines))
        with pytest.raises(DataError, match="aliases stand for more than 5,000,000 values"):
            read(tmp_path / "api.yaml")

    def test_other_versions_are_named(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="expected OpenAPI 3.0 or 3.1, got version '2.0'; convert"):
            read(write(tmp_path / "api.json", {"swagger": "2.0", "paths": {}}))


TOOLS = '''\
    """Tools of a shop."""

    from __future__ import annotations

    from collections.abc import Callable
    from dataclasses import dataclass, field
    from enum import Enum
    from os.path import join
    from typing import Annotated, Any, Literal, NotRequired, Optional, TypedDict, Union


    class Size(Enum):
        SMALL = "s"
        LARGE = "l"


    @dataclass
    class Address:
        street: str
        number: int = 1
        lines: list[str] = field(default_factory=list)
        next: Optional[Address] = None


    class Point(TypedDict):
        x: float
        label: NotRequired[str]


    def order(
        item: str,
        count: int = 1,
        size: Size = Size.SMALL,
        mode: Literal["fast", "slow"] = "fast",
        tags: list[str] | None = None,
        price: Union[int, float, None] = None,
        to: Address = None,
        at: Point | str = "",
        pair: tuple[int, str] = (1, "a"),
        prices: dict[str, float] = {},
        note: Annotated[str, "Shown to the packer."] = "",
        anything: Any = object(),
        when_done: Callable[[], None] = print,
        *rest: int,
        **more: int,
    ) -> str:
        """Order an item.

        Asks nothing back.

        Args:
            item: What to order,
                by its name.
            count (int): How many.
            note: Never shown.

        Returns:
            The number of the order.
        """


    async def cancel(number, /, reason: str = "none"):
        pass


    async def track(number: "int"):
        pass


    def _hidden():
        pass
'''


class TestPython:
    def test_hints_and_docstrings_become_schemas(self, tmp_path: Path) -> None:
        bad = BadEntries()
        order, track = read(write(tmp_path / "shop.py", TOOLS), on_bad=bad)
        assert (order.id, order.name, order.origin, order.tags) == ("shop/order", "order", "python", ("shop",))
        assert order.description == "Order an item.\n\nAsks nothing back."
        strings = {"type": "array", "items": {"type": "string"}}
        address = {
            "type": "object",
            "properties": {
                "street": {"type": "string"},
                "number": {"type": "integer"},
                "lines": strings,
                "next": {"type": ["object", "null"]},
            },
            "required": ["street"],
        }
        point = {
            "type": "object",
            "properties": {"x": {"type": "number"}, "label": {"type": "string"}},
            "required": ["x"],
        }
        pair = [{"type": "integer"}, {"type": "string"}]
        assert order.parameters == {
            "type": "object",
            "properties": {
                "item": {"type": "string", "description": "What to order, by its name."},
                "count": {"type": "integer", "default": 1, "description": "How many."},
                "size": {"type": "string", "enum": ["s", "l"], "default": "s"},
                "mode": {"type": "string", "enum": ["fast", "slow"], "default": "fast"},
                "tags": {"anyOf": [strings, {"type": "null"}]},
                "price": {"type": ["integer", "number", "null"]},
                "to": address,
                "at": {"anyOf": [point, {"type": "string"}], "default": ""},
                "pair": {"type": "array", "prefixItems": pair, "minItems": 2, "maxItems": 2, "default": [1, "a"]},
                "prices": {"type": "object", "additionalProperties": {"type": "number"}, "default": {}},
                "note": {"type": "string", "description": "Shown to the packer.", "default": ""},
                "anything": {},
            },
            "required": ["item"],
        }
        assert (track.id, track.parameters["required"]) == ("shop/track", ["number"])
        assert bad.count == 1
        assert "field 'cancel': parameter 'number': it can be given by position only" in str(bad.first[0])

    @pytest.mark.parametrize(
        ("code", "says"),
        [
            ("import nowhere_at_all", "cannot be imported (ModuleNotFoundError: No module named 'nowhere_at_all')"),
            ("def broken(:", "cannot be imported (SyntaxError"),
            ("raise SystemExit(3)", "cannot be imported (SystemExit: 3)"),
            ("def f(x: 'Unknown'): ...", "field 'f': its hints cannot be read (NameError"),
            ("def f(x: bytes): ...", "parameter 'x': bytes is nothing that JSON can carry"),
        ],
    )
    def test_code_that_cannot_be_read_is_named(self, tmp_path: Path, code: str, says: str) -> None:
        with pytest.raises(DataError) as raised:
            read(write(tmp_path / "shop.py", code))
        assert says in str(raised.value)

    def test_a_file_may_import_its_neighbour_and_say_what_is_public(self, tmp_path: Path) -> None:
        write(tmp_path / "neighbour_of_shop.py", "def shared(x: int): 'Shared.'\ndef other(): ...")
        path = write(
            tmp_path / "shop.py",
            "from neighbour_of_shop import *\n__all__ = ['shared', 'own']\ndef own(): ...\ndef un(): ...",
        )
        assert [tool.id for tool in read(path)] == ["shop/shared", "shop/own"]

    def test_a_module_is_read_by_its_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(tmp_path / "package_of_shop" / "tools.py", "def pay(amount: float) -> None:\n    'Pay.'")
        monkeypatch.chdir(tmp_path)
        (file,) = read_tools("package_of_shop.tools", format="python")
        assert [(tool.id, tool.description) for tool in file.tools] == [("package_of_shop.tools/pay", "Pay.")]


class TestDocstrings:
    @pytest.mark.parametrize(
        "text",
        [
            """Count things.

            More.

            Parameters
            ----------
            x, y : int
                The numbers
                to count.
            mode : {'a', 'b'}, optional
                How to.
            *rest
                The rest.

            Returns
            -------
            x : int
                Not this.
            """,
            """Count things.

            More.

            :param int x: The numbers
                to count.
            :param y: The numbers to count.
            :type y: int
            :param mode: How to.
            :param rest: The rest.
            :returns: x: not this
            :raises ValueError: never
            """,
            """Count things.

            Args:
              x (int): The numbers
                to count.
              y (int, optional):
                The numbers to count.
              mode: How to.

              *rest: The rest.

            Raises:
              x: Not this.

            More.
            """,
        ],
    )
    def test_three_styles_say_the_same(self, text: str) -> None:
        found = parse_docstring(text)
        assert found.description.split() == ["Count", "things.", "More."]
        numbers = "The numbers to count."
        assert found.parameters == {"x": numbers, "y": numbers, "mode": "How to.", "rest": "The rest."}

    @given(st.text(alphabet="Args:Parmetsx-y \n:@(),*"))
    def test_no_text_makes_it_fail(self, text: str) -> None:
        parse_docstring(text)

    def test_without_one_there_is_no_description(self) -> None:
        assert parse_docstring(None).description == ""


class TestSources:
    def folder(self, path: Path) -> Path:
        write(path / "b" / "tools.json", {"tools": [{"name": "n", "inputSchema": {}}]})
        write(path / "a.json", [function("f"), function("g")])
        write(path / "tools.jsonl", {"id": "own", "name": "own", "description": ""})
        write(path / "c.py", "def h(): ...")
        write(path / "package.json", {"name": "not a tool", "version": "1"})
        write(path / "_private.py", "raise SystemExit")
        write(path / ".hidden" / "x.json", [function("f")])
        write(path / "README.md", "# Tools")
        return path

    def test_a_folders_files_are_read_by_their_kind_in_order(self, tmp_path: Path) -> None:
        files = read_tools(self.folder(tmp_path))
        assert [(file.path.name, file.format, [tool.id for tool in file.tools]) for file in files] == [
            ("a.json", "openai", ["a/f", "a/g"]),
            ("tools.json", "mcp", ["b/tools/n"]),
            ("c.py", "python", ["c/h"]),
            ("package.json", None, []),
            ("tools.jsonl", "toolscout", ["own"]),
        ]
        assert [file.path.name for file in read_tools(tmp_path, format="python")] == ["c.py"]

    def test_an_id_given_twice_is_refused_with_both_places(self, tmp_path: Path) -> None:
        one = write(tmp_path / "x" / "a.json", [function("e"), function("f")])
        two = write(tmp_path / "y" / "a.jsonl", function("f"))
        with pytest.raises(DataError) as raised:
            read_tools(one, two)
        assert str(raised.value) == f"{two}:1: 'a/f' is already the id of {one} [1]; rename or drop one of the two"

    @pytest.mark.parametrize(
        ("name", "content", "settings", "says"),
        [
            ("a.json", {"name": "x"}, {}, "nothing that is understood; give the public functions of a Python file"),
            ("a.json", [], {}, "nothing that is understood"),
            ("a.json", "{", {}, "not valid JSON"),
            ("a.json", "[" * 100_000, {}, "not valid JSON"),
            ("a.yaml", "a: [", {}, "not valid YAML"),
            ("a.yaml", "a: &x [*x]", {}, "not valid YAML"),
            ("a.json", [function("f")], {"format": "mpc"}, "format 'mpc' is unknown (did you mean 'mcp'?)"),
            ("a.json", [function("f")], {"format": "python"}, "cannot be of format python"),
            ("a.py", "", {"format": "mcp"}, "cannot be of format mcp"),
            ("a.json", {"tools": []}, {"format": "mcp"}, "no tool in"),
            ("a.json", [function("f")], {"format": "mcp"}, "inputSchema is missing"),
        ],
    )
    def test_what_cannot_be_read_is_named(
        self, tmp_path: Path, name: str, content: Any, settings: dict[str, Any], says: str
    ) -> None:
        with pytest.raises(UserError) as raised:
            read_tools(write(tmp_path / name, content), **settings)
        assert says in str(raised.value)

    def test_a_source_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="no file or folder .*gone"):
            read_tools(tmp_path / "gone")
        with pytest.raises(DataError, match=r"cannot be imported \(ModuleNotFoundError"):
            read_tools("gone.away", format="python")


WORDS = (
    "additionalProperties allOf anyOf application/json annotations content default description enum exclusiveMinimum "
    "function id in inputSchema items minimum name nullable openapi parameters paths post properties requestBody "
    "required result schema tags title tools type x-y"
).split()
VALUES = [None, True, 0, 1.5, "", "a", "object", "dict", "array", "any", "path", "function", "3.0.0", "\ud800", "\n"]
VALUES += ["#/components/schemas/A", "#/paths/~1a/post", "#/0", "elsewhere"]
ANY_JSON = st.recursive(
    st.sampled_from(VALUES) | st.floats(allow_nan=True),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*WORDS, "$ref", "A", "ü"]), inner, max_size=5)
    ),
    max_leaves=25,
)


class TestAnyJSON:
    @given(document=ANY_JSON, format=st.sampled_from([name for name in FORMATS if name != "python"]))
    def test_gives_sound_tools_or_errors_of_ours(
        self, tmp_path_factory: pytest.TempPathFactory, document: Any, format: str
    ) -> None:
        if format == "openapi":
            paths = {"/a": document, "/b": {"post": document}, "/c": {"get": {"parameters": document}}}
            components = {"schemas": {"A": document}}
            document = {"openapi": "3.0.0", "paths": paths, "components": components}
        path = tmp_path_factory.getbasetemp() / "any.json"
        path.write_text(json.dumps(document), encoding="utf-8")
        for chosen in ("auto", format):
            bad = BadEntries()
            try:
                found = read(path, format=chosen, on_bad=bad)
            except UserError:
                continue
            assert all(parameters_problem(tool.parameters) is None for tool in found)
            assert all(0 < len(tool.name) <= 64 and tool.origin for tool in found)


class TestImport:
    def test_a_folder_becomes_a_catalogue(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        source, out = TestSources().folder(tmp_path / "in"), tmp_path / "out.jsonl.gz"
        write(source / "z.json", [{"type": "retrieval"}, {"type": "function", **function("f")}])
        arguments = ["catalogue", "import", str(source), "--out", str(out)]
        assert command_line.main([*arguments, "--skip-bad", "--dry-run"]) == 0
        assert not out.exists()
        assert command_line.main([*arguments, "--skip-bad"]) == 0
        assert [tool.id for tool in Catalogue.load(out)] == ["a/f", "a/g", "b/tools/n", "c/h", "own", "z/f"]
        told = capsys.readouterr().out
        for said in (
            f"would write 6 tools, content hash {Catalogue.load(out).content_hash[:12]}",
            f"{out}: 6 tools, content hash {Catalogue.load(out).content_hash[:12]}",
            "names that several tools share, a model calls one of them: 1\n  f: a/f, z/f\n",
            "groups of near-duplicates, by the words of name and description: 1\n  a/f, z/f (1.00)\n",
            "bad entries left out: 1\n",
        ):
            assert said in told
        assert command_line.main([*arguments]) == 2
        assert "is taken; give another file, or --overwrite" in capsys.readouterr().err
        assert command_line.main([*arguments, "--overwrite"]) == 2
        assert "z.json: field '[0]': a tool of type 'retrieval' is no function" in capsys.readouterr().err

    @pytest.mark.parametrize("arguments", [["import"], ["import", "nowhere"], ["frob"], ["check", "nowhere.jsonl"]])
    def test_bad_arguments_are_one_line_and_exit_code_2(
        self, arguments: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert command_line.main(["catalogue", *arguments]) == 2
        assert capsys.readouterr().err.count("\n") == 1
