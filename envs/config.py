"""The rules of an episode, as configuration."""

from dataclasses import dataclass
from typing import Literal

from retriever.base.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvConfig:
    """How an episode is played. Defaults are the paper's where it names them (METHOD.md)."""

    dialect: Literal["qwen3", "paper"] = "qwen3"
    context: Literal["fresh", "append"] = "fresh"  # does execution start a new prompt, or go on in the same one
    max_search_rounds: int = 4
    candidates_per_search: int = 5  # k
    max_selected: int = 5
    max_calls: int = 6  # tool calls in the execution phase; of a dialogue, for each request
    max_format_errors: int = 2  # one more ends the phase
    candidate_line: str = "{label}. {name}: {description}"  # a tool may be selected by what this shows: label or name
    aliases: Literal["off", "names", "names_and_parameters"] = "off"  # names drawn afresh for every episode
    shuffle_candidates: bool = False  # hide the retriever's ranking from the policy
    call_timeout_s: float = 10.0
    observation_chars: int = 1024  # ToolBench's cut
    description_chars: int = 256  # of a tool, in candidate lines and schemas; ToolBench's cut

    def __post_init__(self) -> None:
        for name in (
            "max_search_rounds",
            "candidates_per_search",
            "max_selected",
            "max_calls",
            "observation_chars",
            "description_chars",
        ):
            if getattr(self, name) < 1:
                raise UserError(f"env.{name}={getattr(self, name)} is below 1; give a positive number")
        if self.max_format_errors < 0:
            raise UserError(
                f"env.max_format_errors={self.max_format_errors} is negative; 0 ends a phase at the first error"
            )
        if self.call_timeout_s <= 0:
            raise UserError(f"env.call_timeout_s={self.call_timeout_s} is not positive; give seconds, e.g. 10")
        try:
            shown = self.candidate_line.format(label="\0label", name="\0name", description="")
        except (KeyError, IndexError, ValueError) as error:
            raise UserError(
                f"env.candidate_line={self.candidate_line!r} does not format ({error}); "
                "its fields are {label}, {name} and {description}"
            ) from None
        if "\0label" not in shown and "\0name" not in shown:
            raise UserError(
                f"env.candidate_line={self.candidate_line!r} shows neither {{label}} nor {{name}}; "
                "nothing could be selected"
            )
