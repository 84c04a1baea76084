"""Plane and solid shapes: lengths, areas, volumes, angles, and points with coordinates."""

import itertools
import math

from envs.worlds.authoring import WorldTool, within
from envs.worlds.draws import ints, real, whole
from envs.worlds.kinds import Code, Real, Reals, Verdict, Whole

_SIDE = whole(2, 90)
_POINT = ints(-30, 30, least=2, most=2)


def _positive(*lengths: float) -> None:
    if min(lengths) <= 0:
        raise ValueError("lengths must be positive")


def _pair(point: list[float]) -> tuple[float, float]:
    x, y = point
    return x, y


def circle_area(radius: Real) -> Real:
    """The area of a circle from its radius."""
    _positive(radius)
    return math.pi * radius**2


def circle_circumference(radius: Real) -> Real:
    """The circumference of a circle, the length around it, from its radius."""
    _positive(radius)
    return math.tau * radius


def arc_length(radius: Real, degrees: Real) -> Real:
    """The length of a circular arc from radius and angle in degrees."""
    _positive(radius, degrees)
    return math.radians(degrees) * radius


def sector_area(radius: Real, degrees: Real) -> Real:
    """The area of a circle sector, a slice, from radius and angle."""
    _positive(radius, degrees)
    return math.radians(degrees) / 2 * radius**2


def ellipse_area(a: Real, b: Real) -> Real:
    """The area of an ellipse from its two half-axes."""
    _positive(a, b)
    return math.pi * a * b


def ring_area(outer: Real, inner: Real) -> Real:
    """The area of a ring between an outer and an inner radius."""
    _positive(inner, outer - inner)
    return math.pi * (outer**2 - inner**2)


def hypotenuse(a: Real, b: Real) -> Real:
    """The longest side of a right triangle from its two legs."""
    _positive(a, b)
    return math.hypot(a, b)


def missing_leg(hypotenuse: Real, leg: Real) -> Real:
    """The other leg of a right triangle from hypotenuse and one leg."""
    _positive(leg, hypotenuse - leg)
    return math.sqrt(hypotenuse**2 - leg**2)


def triangle_area(base: Real, height: Real) -> Real:
    """The area of a triangle from its base and height."""
    _positive(base, height)
    return base * height / 2


def heron_area(sides: Reals) -> Real:
    """The area of a triangle from its three sides, Heron's formula."""
    a, b, c = sides
    half = (a + b + c) / 2
    square = half * (half - a) * (half - b) * (half - c)
    if min(sides) <= 0 or square <= 0:
        raise ValueError("no triangle has these sides")
    return math.sqrt(square)


def triangle_kind(sides: Reals) -> Code:
    """Name a triangle by its angles: acute, right or obtuse."""
    a, b, c = sorted(sides)
    if a <= 0 or a + b <= c:
        raise ValueError("no triangle has these sides")
    excess = a * a + b * b - c * c
    return "right" if abs(excess) < 1e-9 else "acute" if excess > 0 else "obtuse"


def largest_triangle_angle(sides: Reals) -> Real:
    """The widest angle of a triangle in degrees from its three sides."""
    a, b, c = sorted(sides)
    return round(math.degrees(math.acos((a * a + b * b - c * c) / (2 * a * b))), 2)


def is_triangle(sides: Reals) -> Verdict:
    """Check whether three lengths can form a triangle."""
    a, b, c = sorted(sides)
    return "yes" if a > 0 and a + b > c else "no"


def rectangle_perimeter(a: Real, b: Real) -> Real:
    """The perimeter of a rectangle, the fence around it, from its sides."""
    _positive(a, b)
    return 2 * (a + b)


def rectangle_diagonal(a: Real, b: Real) -> Real:
    """The corner-to-corner diagonal of a rectangle."""
    _positive(a, b)
    return math.sqrt(a * a + b * b)


def trapezoid_area(a: Real, b: Real, height: Real) -> Real:
    """The area of a trapezoid from its parallel sides and height."""
    _positive(a, b, height)
    return (a + b) / 2 * height


def regular_polygon_area(sides: Whole, length: Real) -> Real:
    """The area of a regular polygon from side count and side length."""
    within(sides, 3, 10_000, "sides")
    return sides * length**2 / (4 * math.tan(math.pi / sides))


def interior_angle(sides: Whole) -> Real:
    """The angle at each corner of a regular polygon in degrees."""
    within(sides, 3, 10_000, "sides")
    return 180 - 360 / sides


def polygon_diagonals(sides: Whole) -> Whole:
    """Count the diagonals of a polygon with a number of sides."""
    within(sides, 3, 10_000, "sides")
    return sides * (sides - 3) // 2


def box_volume(a: Real, b: Real, c: Real) -> Real:
    """The volume of a box from length, width and height."""
    _positive(a, b, c)
    return a * b * c


def box_surface(a: Real, b: Real, c: Real) -> Real:
    """The surface area of a box, the wrapping paper around it."""
    _positive(a, b, c)
    return 2 * (a * b + b * c + a * c)


def sphere_volume(radius: Real) -> Real:
    """The volume of a ball from its radius."""
    _positive(radius)
    return 4 / 3 * math.pi * radius**3


def sphere_surface(radius: Real) -> Real:
    """The surface area of a ball from its radius."""
    _positive(radius)
    return 4 * math.pi * radius**2


def cylinder_volume(radius: Real, height: Real) -> Real:
    """The volume of a cylinder, such as a can, from radius and height."""
    _positive(radius, height)
    return math.pi * radius**2 * height


def cone_volume(radius: Real, height: Real) -> Real:
    """The volume of a cone from base radius and height."""
    _positive(radius, height)
    return math.pi * radius**2 * height / 3


def pyramid_volume(side: Real, height: Real) -> Real:
    """The volume of a pyramid with a square base."""
    _positive(side, height)
    return side**2 * height / 3


def point_distance(p: Reals, q: Reals) -> Real:
    """The straight-line distance between two points."""
    return math.dist(p, q)


def taxicab_distance(p: Reals, q: Reals) -> Real:
    """The Manhattan distance between two points, along the axes."""
    return sum(abs(a - b) for a, b in zip(p, q, strict=True))


def midpoint(p: Reals, q: Reals) -> Reals:
    """The point halfway between two points."""
    return [(a + b) / 2 for a, b in zip(p, q, strict=True)]


def line_slope(p: Reals, q: Reals) -> Real:
    """The slope of the straight line through two points."""
    (x1, y1), (x2, y2) = _pair(p), _pair(q)
    return (y2 - y1) / (x2 - x1)


def rotate_point(p: Reals) -> Reals:
    """Turn a point a quarter turn counterclockwise about the origin."""
    x, y = _pair(p)
    return [-y, x]


def polar_angle(p: Reals) -> Real:
    """The direction of a point from the origin, an angle in degrees."""
    x, y = _pair(p)
    return round(math.degrees(math.atan2(y, x)), 2)


def shoelace_area(xs: Reals, ys: Reals) -> Real:
    """The area of a polygon from its corner coordinates, the shoelace formula."""
    corners = list(zip(xs, ys, strict=True))
    ring = itertools.pairwise([*corners, *corners[:1]])
    return abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in ring)) / 2


TOOLS = (
    WorldTool(
        function=circle_area,
        draw={"radius": real(1, 60)},
        needs=(
            "the [area of a circle] with radius {radius}",
            "how [large a circle is], radius {radius}",
            "the [circle area] for a radius of {radius}",
        ),
        unseen=(
            "the [space inside a circle] of radius {radius}",
            "how [much surface a round disc covers] with radius {radius}",
        ),
    ),
    WorldTool(
        function=circle_circumference,
        draw={"radius": real(1, 60)},
        needs=(
            "the [circumference of a circle] with radius {radius}",
            "how [long the way around a circle is], radius {radius}",
            "the [perimeter of a circle] of radius {radius}",
        ),
        unseen=(
            "the [outline length of a circle] of radius {radius}",
            "how [long the edge around a circle is] with radius {radius}",
        ),
    ),
    WorldTool(
        function=arc_length,
        draw={"radius": whole(2, 60), "degrees": whole(5, 350)},
        needs=(
            "the [arc length] for radius {radius} and {degrees} degrees",
            "how [long a circular arc is] with radius {radius} and {degrees} degrees",
            "the [length of an arc] of {degrees} degrees at radius {radius}",
        ),
        unseen=(
            "the [curved edge of part of a circle], {degrees} degrees at radius {radius}",
            "how [much of the circumference an angle spans], {degrees} degrees, radius {radius}",
        ),
    ),
    WorldTool(
        function=sector_area,
        draw={"radius": whole(2, 60), "degrees": whole(5, 350)},
        needs=(
            "the [area of a circle sector] with radius {radius} and {degrees} degrees",
            "how [large a slice of a circle is], radius {radius}, {degrees} degrees",
            "the [sector area] for {degrees} degrees at radius {radius}",
        ),
        unseen=(
            "the [size of a pizza slice] of {degrees} degrees at radius {radius}",
            "the [area of a pie wedge], {degrees} degrees, radius {radius}",
        ),
    ),
    WorldTool(
        function=ellipse_area,
        draw={"a": whole(2, 60), "b": whole(2, 60)},
        needs=(
            "the [area of an ellipse] with half-axes {a} and {b}",
            "how [large an ellipse is] with half-axes {a} and {b}",
            "the [ellipse area] for {a} and {b}",
        ),
        unseen=(
            "the [space inside an oval] with half-axes {a} and {b}",
            "how [much area an ellipse covers], half-axes {a} and {b}",
        ),
    ),
    WorldTool(
        function=ring_area,
        draw={"outer": whole(20, 90), "inner": whole(2, 40)},
        needs=(
            "the [area of a ring] with outer radius {outer} and inner radius {inner}",
            "how [large a ring is] between radius {outer} and {inner}",
            "the [ring area] from {outer} outside to {inner} inside",
        ),
        unseen=(
            "the [area of an annulus] from radius {inner} to {outer}",
            "the [area of a flat ring or washer] with radii {outer} and {inner}",
        ),
    ),
    WorldTool(
        function=hypotenuse,
        draw={"a": _SIDE, "b": _SIDE},
        needs=(
            "the [hypotenuse] for legs {a} and {b}",
            "the [longest side of a right triangle] with legs {a} and {b}",
            "the [hypotenuse of a right triangle] with {a} and {b}",
        ),
        unseen=(
            "the [side opposite the right angle] when the legs are {a} and {b}",
            "use [Pythagoras for the long side] with {a} and {b}",
        ),
    ),
    WorldTool(
        function=missing_leg,
        draw={"hypotenuse": whole(40, 120), "leg": whole(3, 39)},
        needs=(
            "the [other leg of a right triangle] with hypotenuse {hypotenuse} and leg {leg}",
            "the [missing leg] given hypotenuse {hypotenuse} and leg {leg}",
            "the [leg of a right triangle] beside {leg} under hypotenuse {hypotenuse}",
        ),
        unseen=(
            "the [unknown short side in Pythagoras], long side {hypotenuse}, short side {leg}",
            "the [remaining cathetus] for {leg} and hypotenuse {hypotenuse}",
        ),
    ),
    WorldTool(
        function=triangle_area,
        draw={"base": _SIDE, "height": _SIDE},
        needs=(
            "the [area of a triangle] with base {base} and height {height}",
            "how [large a triangle is] with base {base} and height {height}",
            "the [triangle area from base and height], {base} and {height}",
        ),
        unseen=(
            "the [space in a triangle by base times height] of {base} and {height}",
            "how [much area a triangle covers by base and height], {base} and {height}",
        ),
    ),
    WorldTool(
        function=heron_area,
        draw={"sides": ints(5, 40, least=3, most=3)},
        needs=(
            "the [area of a triangle from three sides] {sides}",
            "the [Heron area] for sides {sides}",
            "how [large a triangle with three given sides is], {sides}",
        ),
        unseen=(
            "use [Heron's formula] on the sides {sides}",
            "the [triangle area by side lengths] for {sides}",
        ),
    ),
    WorldTool(
        function=triangle_kind,
        draw={"sides": ints(3, 40, least=3, most=3)},
        needs=(
            "whether a [triangle is acute, right or obtuse] with sides {sides}",
            "the [kind of triangle by its angles] for {sides}",
            "which [type of triangle] the sides {sides} make",
        ),
        unseen=(
            "how to [classify a triangle] with sides {sides}",
            "the [triangle class, sharp-angled or not,] for {sides}",
        ),
    ),
    WorldTool(
        function=largest_triangle_angle,
        draw={"sides": ints(8, 40, least=3, most=3)},
        needs=(
            "the [widest angle of a triangle] with sides {sides}",
            "the [largest angle in a triangle] of sides {sides}",
            "how [many degrees the biggest corner of a triangle has], sides {sides}",
        ),
        unseen=(
            "the [angle opposite the longest side] in {sides}",
            "use [the law of cosines for the greatest angle] with sides {sides}",
        ),
    ),
    WorldTool(
        function=is_triangle,
        draw={"sides": ints(2, 30, least=3, most=3)},
        needs=(
            "whether {sides} [can form a triangle]",
            "whether [three lengths make a triangle], {sides}",
            "check {sides} [for being sides of a triangle]",
        ),
        unseen=(
            "whether {sides} [satisfy the triangle inequality]",
            "whether [three sticks close into a triangle], {sides}",
        ),
    ),
    WorldTool(
        function=rectangle_perimeter,
        draw={"a": _SIDE, "b": _SIDE},
        needs=(
            "the [perimeter of a rectangle] with sides {a} and {b}",
            "how [long a fence around a rectangle is], sides {a} and {b}",
            "the [rectangle perimeter] for {a} by {b}",
        ),
        unseen=(
            "the [total edge length of a rectangle] of {a} by {b}",
            "how [far it is around a rectangular garden], {a} by {b}",
        ),
    ),
    WorldTool(
        function=rectangle_diagonal,
        draw={"a": _SIDE, "b": _SIDE},
        needs=(
            "the [diagonal of a rectangle] with sides {a} and {b}",
            "how [long the corner-to-corner line is] in a rectangle of {a} by {b}",
            "the [rectangle diagonal] for {a} by {b}",
        ),
        unseen=(
            "the [distance between opposite corners of a rectangle] of {a} by {b}",
            "the [screen diagonal] of a display {a} by {b}",
        ),
    ),
    WorldTool(
        function=trapezoid_area,
        draw={"a": _SIDE, "b": _SIDE, "height": _SIDE},
        needs=(
            "the [area of a trapezoid] with parallel sides {a}, {b} and height {height}",
            "how [large a trapezoid is] with parallels {a}, {b} and height {height}",
            "the [trapezoid area] for {a} and {b} at height {height}",
        ),
        unseen=(
            "the [area between two parallel sides] {a} and {b} at distance {height}",
            "how [much a trapezium covers], parallels {a} and {b}, height {height}",
        ),
    ),
    WorldTool(
        function=regular_polygon_area,
        draw={"sides": whole(3, 20), "length": whole(2, 40)},
        needs=(
            "the [area of a regular polygon] with {sides} sides of length {length}",
            "how [large a regular polygon is] with {sides} sides of {length}",
            "the [regular polygon area] for {sides} sides, each {length}",
        ),
        unseen=(
            "the [space inside an equal-sided polygon], {sides} edges of {length}",
            "how [much an even-sided many-corner shape covers], {sides} sides of {length}",
        ),
    ),
    WorldTool(
        function=interior_angle,
        draw={"sides": whole(3, 400)},
        needs=(
            "the [interior angle] of a regular polygon with {sides} sides",
            "the [corner angle of a regular polygon] of {sides} sides",
            "how [many degrees each corner of a polygon has], {sides} sides",
        ),
        unseen=(
            "the [inside angle at a vertex] of a regular {sides}-sided figure",
            "how [wide the corners of an equal-sided polygon are] with {sides} sides",
        ),
    ),
    WorldTool(
        function=polygon_diagonals,
        draw={"sides": whole(4, 900)},
        needs=(
            "the [number of diagonals] of a polygon with {sides} sides",
            "how [many diagonals a polygon has] with {sides} sides",
            "the [polygon diagonals] for {sides} sides",
        ),
        unseen=(
            "how [many diagonal lines a polygon has] with {sides} corners",
            "the [diagonal count of a many-sided shape] with {sides} corners",
        ),
    ),
    WorldTool(
        function=box_volume,
        draw={"a": _SIDE, "b": _SIDE, "c": _SIDE},
        needs=(
            "the [volume of a box] of {a} by {b} by {c}",
            "how [much a box holds], {a} by {b} by {c}",
            "the [box volume] for {a}, {b} and {c}",
        ),
        unseen=(
            "the [capacity of a cuboid] of {a} by {b} by {c}",
            "how [much space a carton takes up], {a} by {b} by {c}",
        ),
    ),
    WorldTool(
        function=box_surface,
        draw={"a": _SIDE, "b": _SIDE, "c": _SIDE},
        needs=(
            "the [surface area of a box] of {a} by {b} by {c}",
            "how [much wrapping paper a box needs], {a} by {b} by {c}",
            "the [box surface] for {a}, {b} and {c}",
        ),
        unseen=(
            "the [outer surface of a box-shaped crate], {a} by {b} by {c}",
            "how [much paint covers a crate], {a} by {b} by {c}",
        ),
    ),
    WorldTool(
        function=sphere_volume,
        draw={"radius": real(1, 60)},
        needs=(
            "the [volume of a ball] with radius {radius}",
            "how [much a sphere holds] with radius {radius}",
            "the [sphere volume] for a radius of {radius}",
        ),
        unseen=(
            "the [capacity of a globe] of radius {radius}",
            "how [much air fills a ball] of radius {radius}",
        ),
    ),
    WorldTool(
        function=sphere_surface,
        draw={"radius": real(1, 60)},
        needs=(
            "the [surface area of a ball] with radius {radius}",
            "how [large the skin of a sphere is] with radius {radius}",
            "the [sphere surface] for a radius of {radius}",
        ),
        unseen=(
            "the [outer area of a globe] of radius {radius}",
            "how [much leather covers a ball] of radius {radius}",
        ),
    ),
    WorldTool(
        function=cylinder_volume,
        draw={"radius": _SIDE, "height": _SIDE},
        needs=(
            "the [volume of a cylinder] with radius {radius} and height {height}",
            "how [much a can holds] with radius {radius} and height {height}",
            "the [cylinder volume] for radius {radius}, height {height}",
        ),
        unseen=(
            "the [capacity of a round tank] of radius {radius} and height {height}",
            "how [much fits into a tin or tube], radius {radius}, height {height}",
        ),
    ),
    WorldTool(
        function=cone_volume,
        draw={"radius": _SIDE, "height": _SIDE},
        needs=(
            "the [volume of a cone] with radius {radius} and height {height}",
            "how [much a cone holds] with radius {radius} and height {height}",
            "the [cone volume] for radius {radius}, height {height}",
        ),
        unseen=(
            "the [capacity of an ice cream cone] of radius {radius} and height {height}",
            "how [much fits into a conical funnel], radius {radius}, height {height}",
        ),
    ),
    WorldTool(
        function=pyramid_volume,
        draw={"side": _SIDE, "height": _SIDE},
        needs=(
            "the [volume of a pyramid] with base side {side} and height {height}",
            "how [much a square pyramid holds] with side {side} and height {height}",
            "the [pyramid volume] for side {side}, height {height}",
        ),
        unseen=(
            "the [stone in an Egyptian pyramid] with side {side} and height {height}",
            "the [space within a square-based pyramid], side {side}, height {height}",
        ),
    ),
    WorldTool(
        function=point_distance,
        draw={"p": _POINT, "q": _POINT},
        needs=(
            "the [distance between the points] {p} and {q}",
            "the [straight-line distance] from {p} to {q}",
            "how [far apart two points are], {p} and {q}",
        ),
        unseen=(
            "the [Euclidean distance] from {p} to {q}",
            "the [distance as the crow flies] between {p} and {q}",
        ),
    ),
    WorldTool(
        function=taxicab_distance,
        draw={"p": _POINT, "q": _POINT},
        needs=(
            "the [Manhattan distance] from {p} to {q}",
            "the [taxicab distance] between {p} and {q}",
            "the [distance along the axes] from {p} to {q}",
        ),
        unseen=(
            "the [city block distance] from {p} to {q}",
            "the [L1 distance, no diagonals,] between {p} and {q}",
        ),
    ),
    WorldTool(
        function=midpoint,
        draw={"p": _POINT, "q": _POINT},
        needs=(
            "the [midpoint] of {p} and {q}",
            "the [point halfway between two points], {p} and {q}",
            "the [middle of a segment] from {p} to {q}",
        ),
        unseen=(
            "the [centre of the line segment] from {p} to {q}",
            "which [coordinates lie exactly between] {p} and {q}",
        ),
    ),
    WorldTool(
        function=line_slope,
        draw={"p": _POINT, "q": _POINT},
        needs=(
            "the [slope of the line] through {p} and {q}",
            "how [steep a line through two points is], {p} and {q}",
            "the [slope between two points] {p} and {q}",
        ),
        unseen=(
            "the [gradient of a straight line] from {p} to {q}",
            "the [steepness of a line between two points] from {p} to {q}",
        ),
    ),
    WorldTool(
        function=rotate_point,
        draw={"p": ints(-90, 90, least=2, most=2)},
        needs=(
            "the [point after a quarter turn] of {p}",
            "[rotate a point by ninety degrees], {p}",
            "[turn about the origin counterclockwise] {p}",
        ),
        unseen=(
            "where [a right-angle rotation around the origin] takes {p}",
            "spin {p} [a quarter circle to the left about zero]",
        ),
    ),
    WorldTool(
        function=polar_angle,
        draw={"p": ints(-90, 90, least=2, most=2)},
        needs=(
            "the [direction of the point] {p} seen from the origin",
            "the [polar angle] of {p}",
            "the [angle of a point from the origin], for {p}",
        ),
        unseen=(
            "which [direction from zero a point lies in], for {p}",
            "the [azimuth of a coordinate pair] like {p}",
        ),
    ),
    WorldTool(
        function=shoelace_area,
        draw={"xs": ints(-20, 30, least=3, most=3), "ys": ints(-20, 30, least=3, most=3)},
        needs=(
            "the [area of a polygon from coordinates] x {xs} and y {ys}",
            "the [shoelace formula] for x {xs} and y {ys}",
            "the [polygon area by corners] with x {xs} and y {ys}",
        ),
        unseen=(
            "how [large a polygon with given corner coordinates is], x {xs}, y {ys}",
            "the [shoelace method for a polygon's area] over x {xs} and y {ys}",
        ),
    ),
)
