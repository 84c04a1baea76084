"""What of a tool is searched: a template turns an entry into the text that is indexed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any
from urllib.parse import unquote

from retriever.base.errors import UserError
from retriever.base.nearest import did_you_mean
from retriever.tools import ToolDoc
from retriever.words import clean_text, split_identifiers

FIELDS = ("id", "name", "description", "tags", "parameter_names", "required_parameters", "optional_parameters")


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentTemplate:
    """A format string over `FIELDS`. The rendered text has its identifiers split, so that words match words."""

    text: str

    def __post_init__(self) -> None:
        try:
            used = [name for _, name, _, _ in Formatter().parse(self.text) if name is not None]
            if set(used) <= set(FIELDS):
                self.text.format(**dict.fromkeys(FIELDS, ""))
        except ValueError as error:
            raise UserError(
                f"retriever.document={self.text!r} does not format ({error}); double a literal brace"
            ) from None
        for name in used:
            if name not in FIELDS:
                raise UserError(
                    f"retriever.document={self.text!r} names an unknown field {name!r}{did_you_mean(name, FIELDS)}; "
                    f"the fields are {', '.join(FIELDS)}"
                )
        if not used:
            raise UserError(
                f"retriever.document={self.text!r} names no field; name at least one of {', '.join(FIELDS)}"
            )

    def render(self, tool: ToolDoc) -> str:
        """The text of `tool` that is indexed."""
        properties: Mapping[str, Any] = tool.parameters.get("properties") or {}
        required = set(tool.parameters.get("required") or ())
        filled = self.text.format(
            id=unquote(tool.id).replace("/", " "),
            name=tool.name,
            description=tool.description,
            tags=" ".join(tool.tags),
            parameter_names=" ".join(properties),
            required_parameters=_described((name, schema) for name, schema in properties.items() if name in required),
            optional_parameters=_described(
                (name, schema) for name, schema in properties.items() if name not in required
            ),
        )
        return split_identifiers(clean_text(filled))


def _described(properties: Iterable[tuple[str, Any]]) -> str:
    """Name, description and example values of each parameter."""
    parts: list[str] = []
    for name, schema in properties:
        parts.append(name)
        if isinstance(schema, Mapping):  # JSON schema allows true and false, which say nothing
            examples = schema.get("examples")
            shown = examples if isinstance(examples, list) else [schema["default"]] if "default" in schema else []
            parts += [str(schema.get("description", "")), *(str(example) for example in shown)]
    return " ".join(part for part in parts if part)


PRESETS: Mapping[str, DocumentTemplate] = {
    "default": DocumentTemplate(text="{name} {description} {parameter_names}"),
    # METHOD's fields for ToolBench: `id` holds category, tool and API as published; responses have no schema here
    "toolbench": DocumentTemplate(text="{id} {name} {description} {required_parameters} {optional_parameters}"),
}


def document_template(name_or_text: str) -> DocumentTemplate:
    """A preset by name, or a template of the user's own; UserError when it is neither."""
    if name_or_text in PRESETS:
        return PRESETS[name_or_text]
    if "{" not in name_or_text:
        raise UserError(
            f"retriever.document={name_or_text!r} is not a template{did_you_mean(name_or_text, PRESETS)}; "
            f"give one of {', '.join(PRESETS)}, or a text with {{name}} and other fields"
        )
    return DocumentTemplate(text=name_or_text)
