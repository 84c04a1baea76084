"""Colours written as #a1b2c3: their channels, their relatives and how they look beside each other."""

import colorsys
import math
import re

from envs.worlds.authoring import WorldTool, within
from envs.worlds.draws import choice, colour
from envs.worlds.kinds import Code, Colour, Ints, Real, Whole, Word

_NAMED = {
    "black": "#000000", "white": "#ffffff", "red": "#ff0000", "lime": "#00ff00", "blue": "#0000ff", "yellow": "#ffff00",
    "cyan": "#00ffff", "magenta": "#ff00ff", "silver": "#c0c0c0", "gray": "#808080", "maroon": "#800000",
    "olive": "#808000", "green": "#008000", "purple": "#800080", "teal": "#008080", "navy": "#000080",
    "orange": "#ffa500", "pink": "#ffc0cb", "gold": "#ffd700", "brown": "#a52a2a", "coral": "#ff7f50",
    "salmon": "#fa8072", "khaki": "#f0e68c", "indigo": "#4b0082", "violet": "#ee82ee", "plum": "#dda0dd",
    "orchid": "#da70d6", "tomato": "#ff6347", "crimson": "#dc143c", "chocolate": "#d2691e", "tan": "#d2b48c",
    "beige": "#f5f5dc", "ivory": "#fffff0", "lavender": "#e6e6fa", "turquoise": "#40e0d0", "azure": "#f0ffff",
    "sienna": "#a0522d", "linen": "#faf0e6", "wheat": "#f5deb3", "thistle": "#d8bfd8", "peru": "#cd853f",
    "snow": "#fffafa", "aquamarine": "#7fffd4", "bisque": "#ffe4c4", "chartreuse": "#7fff00", "firebrick": "#b22222",
    "rosewood": "#65000b", "gainsboro": "#dcdcdc", "honeydew": "#f0fff0", "moccasin": "#ffe4b5",
}  # fmt: skip


def _channels(colour: str) -> tuple[int, int, int]:
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", colour):
        raise ValueError("give a colour such as #a1b2c3")
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:], 16)


def _hex(*channels: float) -> str:
    return "#" + "".join(f"{min(255, max(0, math.floor(c + 0.5))):02x}" for c in channels)


def _luminance(colour: str) -> float:
    shares = (c / 255 for c in _channels(colour))
    linear = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares)
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _hls(colour: str) -> tuple[float, float, float]:
    red, green, blue = _channels(colour)
    return colorsys.rgb_to_hls(red / 255, green / 255, blue / 255)


def _from_hls(hue: float, light: float, saturation: float) -> str:
    return _hex(*(255 * c for c in colorsys.hls_to_rgb(hue % 1, light, saturation)))


def complement_colour(colour: Colour) -> Colour:
    """The complementary colour, opposite on the colour wheel."""
    hue, light, saturation = _hls(colour)
    return _from_hls(hue + 0.5, light, saturation)


def invert_colour(colour: Colour) -> Colour:
    """The negative of a colour: each channel subtracted from 255."""
    return _hex(*(255 - c for c in _channels(colour)))


def rotate_hue(colour: Colour, degrees: int) -> Colour:
    """Turn a colour around the colour wheel by some degrees."""
    hue, light, saturation = _hls(colour)
    return _from_hls(hue + degrees / 360, light, saturation)


def lighten_colour(colour: Colour, percent: int) -> Colour:
    """Mix a colour with white by a percentage, a tint."""
    within(percent, 0, 100, "percent")
    return _hex(*(c + (255 - c) * percent / 100 for c in _channels(colour)))


def darken_colour(colour: Colour, percent: int) -> Colour:
    """Mix a colour with black by a percentage, a shade."""
    within(percent, 0, 100, "percent")
    return _hex(*(c * (100 - percent) / 100 for c in _channels(colour)))


def grey_of_colour(colour: Colour) -> Colour:
    """The greyscale version of a colour, equally bright to the eye."""
    red, green, blue = _channels(colour)
    return _hex(*[0.299 * red + 0.587 * green + 0.114 * blue] * 3)


def saturate_fully(colour: Colour) -> Colour:
    """The most vivid version of a colour, at full saturation."""
    hue, light, _ = _hls(colour)
    return _from_hls(hue, light, 1.0)


def mix_colours(first: Colour, second: Colour) -> Colour:
    """Blend two colours in equal parts."""
    return _hex(*((a + b) / 2 for a, b in zip(_channels(first), _channels(second), strict=True)))


def multiply_colours(first: Colour, second: Colour) -> Colour:
    """Overlay two colours by multiplying their channels, as in image editors."""
    return _hex(*(a * b / 255 for a, b in zip(_channels(first), _channels(second), strict=True)))


def screen_colours(first: Colour, second: Colour) -> Colour:
    """Overlay two colours by the screen blend mode, brighter than both."""
    pairs = zip(_channels(first), _channels(second), strict=True)
    return _hex(*(255 - (255 - a) * (255 - b) / 255 for a, b in pairs))


def colour_to_rgb(colour: Colour) -> Ints:
    """List the red, green and blue values of a hex colour."""
    return list(_channels(colour))


def rgb_to_colour(rgb: Ints) -> Colour:
    """Write red, green and blue values as a hex colour."""
    red, green, blue = rgb
    within(min(rgb), 0, 255, "red, green and blue")
    within(max(rgb), 0, 255, "red, green and blue")
    return _hex(red, green, blue)


def colour_to_cmyk(colour: Colour) -> Ints:
    """List the cyan, magenta, yellow and black ink percentages of a colour."""
    shares = [c / 255 for c in _channels(colour)]
    black = 1 - max(shares)
    inks = [(1 - c - black) / (1 - black) if black < 1 else 0.0 for c in shares]
    return [math.floor(100 * ink + 0.5) for ink in (*inks, black)]


def hue_of_colour(colour: Colour) -> Real:
    """The hue angle of a colour in degrees."""
    return round(360 * _hls(colour)[0], 1)


def saturation_of_colour(colour: Colour) -> Real:
    """The HSL saturation of a colour in percent."""
    _, light, saturation = _hls(colour)
    return round(100 * saturation, 1) if 0 < light < 1 else 0.0


def lightness_of_colour(colour: Colour) -> Real:
    """The HSL lightness of a colour in percent."""
    channels = _channels(colour)
    return round(100 * (max(channels) + min(channels)) / 510, 1)


def relative_luminance(colour: Colour) -> Real:
    """The relative luminance of a colour, weighted as the eye sees."""
    return _luminance(colour)


def contrast_ratio(first: Colour, second: Colour) -> Real:
    """The accessibility contrast ratio between text colour and background colour."""
    darker, lighter = sorted((_luminance(first), _luminance(second)))
    return round((lighter + 0.05) / (darker + 0.05), 2)


def colour_distance(first: Colour, second: Colour) -> Real:
    """The distance between two colours in red-green-blue space."""
    return round(math.dist(_channels(first), _channels(second)), 2)


def readable_text_colour(colour: Colour) -> Word:
    """Choose black or white text for a background colour."""
    return "black" if _luminance(colour) > 0.179 else "white"


def nearest_colour_name(colour: Colour) -> Word:
    """The English name of the closest known colour."""
    channels = _channels(colour)
    return min(_NAMED, key=lambda name: math.dist(channels, _channels(_NAMED[name])))


def colour_by_name(name: str) -> Colour:
    """The hex code of a colour given by its English name."""
    if name.lower() not in _NAMED:
        raise ValueError(f"no colour named {name}")
    return _NAMED[name.lower()]


def web_safe_colour(colour: Colour) -> Colour:
    """The nearest of the 216 web-safe colours."""
    return _hex(*(51 * math.floor(c / 51 + 0.5) for c in _channels(colour)))


def strongest_channel(colour: Colour) -> Word:
    """The channel, red, green or blue, that dominates a colour."""
    channels = _channels(colour)
    return ("red", "green", "blue")[channels.index(max(channels))]


def short_colour(colour: Colour) -> Code:
    """Shorten a colour to the three-digit hex form."""
    return "#" + "".join(f"{math.floor(c / 17 + 0.5):x}" for c in _channels(colour))


def colour_number(colour: Colour) -> Whole:
    """Write a colour as one decimal number from its 24 bits."""
    return int.from_bytes(bytes(_channels(colour)), "big")


TOOLS = (
    WorldTool(
        function=complement_colour,
        draw={"colour": colour()},
        needs=(
            "the [complementary colour] of {colour}",
            "the [opposite on the colour wheel] of {colour}",
            "the [complement of the colour] {colour}",
        ),
        unseen=(
            "which [colour lies across the colour circle] from {colour}",
            "the [opposite, complementary hue] to {colour}",
        ),
    ),
    WorldTool(
        function=invert_colour,
        draw={"colour": colour()},
        needs=(
            "the [inverted colour] of {colour}",
            "the [negative of the colour] {colour}",
            "[invert the channels] of {colour}",
        ),
        unseen=(
            "the [photographic negative colour] of {colour}",
            "[flip each channel to 255 minus itself] in {colour}",
        ),
    ),
    WorldTool(
        function=rotate_hue,
        draw={"colour": colour(), "degrees": choice(15, 30, 45, 60, 90, 120, 150, 210, 240)},
        needs=(
            "[rotate the hue] of {colour} by {degrees} degrees",
            "[turn around the colour wheel] by {degrees} degrees, from {colour}",
            "the [hue rotation] of {colour} by {degrees} degrees",
        ),
        unseen=(
            "move {colour} [along the hue circle], {degrees} degrees on",
            "[shift the hue angle] of {colour} by {degrees}",
        ),
    ),
    WorldTool(
        function=lighten_colour,
        draw={"colour": colour(), "percent": choice(10, 20, 25, 30, 40, 50, 60, 75)},
        needs=(
            "[lighten the colour] {colour} by {percent} percent",
            "the [tint towards white] of {colour} by {percent} percent",
            "[mix with white] to {percent} percent the colour {colour}",
        ),
        unseen=(
            "make {colour} [paler by adding white], {percent} percent",
            "a [lighter tint of the colour] {colour}, {percent} percent up",
        ),
    ),
    WorldTool(
        function=darken_colour,
        draw={"colour": colour(), "percent": choice(10, 20, 25, 30, 40, 50, 60, 75)},
        needs=(
            "[darken the colour] {colour} by {percent} percent",
            "the [shade towards black] of {colour} by {percent} percent",
            "[mix with black] to {percent} percent the colour {colour}",
        ),
        unseen=(
            "make {colour} [deeper by adding black], {percent} percent",
            "a [darker shade of the colour] {colour}, {percent} percent down",
        ),
    ),
    WorldTool(
        function=grey_of_colour,
        draw={"colour": colour()},
        needs=(
            "the [greyscale version] of {colour}",
            "the [grey equally bright as the colour] {colour}",
            "turn {colour} [into grey]",
        ),
        unseen=(
            "the [grey version of a colour], {colour}",
            "[desaturate to grey] the colour {colour}",
        ),
    ),
    WorldTool(
        function=saturate_fully,
        draw={"colour": colour()},
        needs=(
            "the [fully saturated version] of {colour}",
            "the [most vivid version of the colour] {colour}",
            "bring {colour} [to full saturation]",
        ),
        unseen=(
            "make {colour} [as intense and vivid as possible]",
            "the [purest colour at maximum saturation] for {colour}",
        ),
    ),
    WorldTool(
        function=mix_colours,
        draw={"first": colour(), "second": colour()},
        needs=(
            "the [mix of the colours] {first} and {second}",
            "[blend two colours], {first} and {second}",
            "the [equal blend] of {first} with {second}",
        ),
        unseen=(
            "the [average of two colours] {first} and {second}",
            "which [colour comes from combining half and half] {first} and {second}",
        ),
    ),
    WorldTool(
        function=multiply_colours,
        draw={"first": colour(), "second": colour()},
        needs=(
            "the [multiply blend] of {first} and {second}",
            "[multiply two colours], {first} and {second}",
            "overlay {first} on {second} [by multiplying channels]",
        ),
        unseen=(
            "the [darkening multiply layer mode] of {first} over {second}",
            "the [channelwise product of colours] {first} and {second}",
        ),
    ),
    WorldTool(
        function=screen_colours,
        draw={"first": colour(), "second": colour()},
        needs=(
            "the [screen blend] of {first} and {second}",
            "overlay {first} on {second} [in screen mode]",
            "the [brighter overlay by screen blending] of {first} and {second}",
        ),
        unseen=(
            "the [brightening screen layer mode] of {first} over {second}",
            "combine {first} and {second} [as two projectors on a screen]",
        ),
    ),
    WorldTool(
        function=colour_to_rgb,
        draw={"colour": colour()},
        needs=(
            "the [RGB values] of {colour}",
            "the [red, green and blue values] in {colour}",
            "convert {colour} [from hex to RGB]",
        ),
        unseen=(
            "the [red-green-blue numbers of a hex code] like {colour}",
            "split {colour} [into its red, green and blue parts]",
        ),
    ),
    WorldTool(
        function=rgb_to_colour,
        draw={"rgb": lambda r: [r.randint(0, 255) for _ in range(3)]},
        needs=(
            "the [hex colour for the RGB values] {rgb}",
            "convert {rgb} [from RGB to a hex colour]",
            "write the [red, green, blue list as hex], {rgb}",
        ),
        unseen=(
            "the [hash-sign colour code of RGB numbers] {rgb}",
            "turn {rgb} [from three channels into a web colour]",
        ),
    ),
    WorldTool(
        function=colour_to_cmyk,
        draw={"colour": colour()},
        needs=(
            "the [CMYK inks] of {colour}",
            "the [cyan, magenta, yellow and black percentages] for {colour}",
            "convert {colour} [to CMYK]",
        ),
        unseen=(
            "the [printer ink percentages] for {colour}",
            "the [four-colour printing values] of {colour}",
        ),
    ),
    WorldTool(
        function=hue_of_colour,
        draw={"colour": colour()},
        needs=(
            "the [hue] of {colour}",
            "the [hue angle in degrees] of {colour}",
            "where {colour} sits [on the colour wheel, in degrees]",
        ),
        unseen=(
            "the [hue component in degrees] for {colour}",
            "the [colour wheel angle] of {colour}",
        ),
    ),
    WorldTool(
        function=saturation_of_colour,
        draw={"colour": colour()},
        needs=(
            "the [saturation] of {colour}",
            "how [saturated a colour is], in percent, for {colour}",
            "the [HSL saturation] of {colour}",
        ),
        unseen=(
            "the [S component of HSL] for {colour}",
            "how [vivid a colour is in percent] for {colour}",
        ),
    ),
    WorldTool(
        function=lightness_of_colour,
        draw={"colour": colour()},
        needs=(
            "the [lightness] of {colour}",
            "how [light a colour is], in percent, for {colour}",
            "the [HSL lightness] of {colour}",
        ),
        unseen=(
            "the [L component of HSL] for {colour}",
            "the [lightness percentage of a colour], {colour}",
        ),
    ),
    WorldTool(
        function=relative_luminance,
        draw={"colour": colour()},
        needs=(
            "the [relative luminance] of {colour}",
            "the [luminance of the colour] {colour}",
            "how [bright the eye sees a colour], as luminance, for {colour}",
        ),
        unseen=(
            "the [perceived luminance value] of {colour}",
            "the [luminance as defined for web accessibility] of {colour}",
        ),
    ),
    WorldTool(
        function=contrast_ratio,
        draw={"first": colour(), "second": colour()},
        needs=(
            "the [contrast ratio] of {first} on {second}",
            "the [accessibility contrast] between {first} and {second}",
            "the [contrast of text and background], {first} on {second}",
        ),
        unseen=(
            "how [well text stands out from its background], {first} against {second}",
            "the [WCAG contrast] for {first} with {second}",
        ),
    ),
    WorldTool(
        function=colour_distance,
        draw={"first": colour(), "second": colour()},
        needs=(
            "the [colour distance] between {first} and {second}",
            "how [far apart two colours are], {first} and {second}",
            "the [RGB distance] from {first} to {second}",
        ),
        unseen=(
            "the [difference of two colours as a distance], {first} versus {second}",
            "how [unlike the two colours look in RGB space], {first} and {second}",
        ),
    ),
    WorldTool(
        function=readable_text_colour,
        draw={"colour": colour()},
        needs=(
            "the [readable text colour] on {colour}",
            "whether [black or white text] suits {colour}",
            "which [text colour fits a background] of {colour}",
        ),
        unseen=(
            "whether to [write in black or in white] over {colour}",
            "the [legible font colour] for {colour}",
        ),
    ),
    WorldTool(
        function=nearest_colour_name,
        draw={"colour": colour()},
        needs=(
            "the [name of the closest colour] to {colour}",
            "what [a colour is called], for {colour}",
            "the [nearest named colour] to {colour}",
        ),
        unseen=(
            "which [English colour word describes] {colour}",
            "the [closest colour in words] to {colour}",
        ),
    ),
    WorldTool(
        function=colour_by_name,
        draw={"name": choice(*_NAMED)},
        needs=(
            "the [hex code of a named colour], {name}",
            "the [colour code by its name], {name}",
            "which [hex value a colour name has], {name}",
        ),
        unseen=(
            "the [hexadecimal code for an English colour word], {name}",
            "look up {name} [as a colour name]",
        ),
    ),
    WorldTool(
        function=web_safe_colour,
        draw={"colour": colour()},
        needs=(
            "the [web-safe colour] nearest to {colour}",
            "round {colour} [to the web-safe palette]",
            "the [nearest of the 216 colours] to {colour}",
        ),
        unseen=(
            "the [safe colour for old browsers] close to {colour}",
            "snap {colour} [to the browser-safe palette]",
        ),
    ),
    WorldTool(
        function=strongest_channel,
        draw={"colour": colour()},
        needs=(
            "the [dominant channel] of {colour}",
            "which [of red, green and blue dominates] {colour}",
            "the [strongest colour channel] in {colour}",
        ),
        unseen=(
            "whether [red, green or blue is strongest] in {colour}",
            "which [channel is the dominant one] in {colour}",
        ),
    ),
    WorldTool(
        function=short_colour,
        draw={"colour": colour()},
        needs=(
            "the [three-digit hex form] of {colour}",
            "[shorten the colour code] {colour}",
            "the [short CSS colour] for {colour}",
        ),
        unseen=(
            "write {colour} [with only three hex digits]",
            "the [shortened three-digit colour] near {colour}",
        ),
    ),
    WorldTool(
        function=colour_number,
        draw={"colour": colour()},
        needs=(
            "the [decimal number of a colour], {colour}",
            "convert {colour} [from a colour to one number]",
            "the [24-bit integer of the colour] {colour}",
        ),
        unseen=(
            "the [colour as a plain integer] for {colour}",
            "the [single-number colour value] of {colour}",
        ),
    ),
)
