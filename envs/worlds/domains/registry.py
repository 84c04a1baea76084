"""Every domain of the embedded world: its name, which is also the prefix of its tool ids, and its tools."""

from collections.abc import Mapping

from envs.worlds.authoring import WorldTool
from envs.worlds.domains import (
    base_tools,
    calendar_tools,
    clock_tools,
    colour_tools,
    counting_tools,
    date_tools,
    encoding_tools,
    finance_tools,
    fraction_tools,
    geometry_tools,
    hash_tools,
    list_tools,
    math_tools,
    network_tools,
    number_tools,
    set_tools,
    statistics_tools,
    text_tools,
    unit_tools,
    word_tools,
)

DOMAINS: Mapping[str, tuple[WorldTool, ...]] = {
    "math": math_tools.TOOLS,
    "numbers": number_tools.TOOLS,
    "bases": base_tools.TOOLS,
    "fractions": fraction_tools.TOOLS,
    "statistics": statistics_tools.TOOLS,
    "lists": list_tools.TOOLS,
    "sets": set_tools.TOOLS,
    "counting": counting_tools.TOOLS,
    "geometry": geometry_tools.TOOLS,
    "finance": finance_tools.TOOLS,
    "units": unit_tools.TOOLS,
    "dates": date_tools.TOOLS,
    "clock": clock_tools.TOOLS,
    "calendar": calendar_tools.TOOLS,
    "text": text_tools.TOOLS,
    "words": word_tools.TOOLS,
    "encoding": encoding_tools.TOOLS,
    "hashing": hash_tools.TOOLS,
    "network": network_tools.TOOLS,
    "colours": colour_tools.TOOLS,
}
