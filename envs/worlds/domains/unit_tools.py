"""Units of measure: temperature, length, weight, speed, data and the body, each a formula of its own."""

import math

from envs.worlds.authoring import WorldTool, within
from envs.worlds.draws import choice, real, whole
from envs.worlds.kinds import Code, Real, Whole

_BEAUFORT_KMH = (1, 6, 12, 20, 29, 39, 50, 62, 75, 89, 103, 118)
_COMPASS = ("north", "northeast", "east", "southeast", "south", "southwest", "west", "northwest")


def celsius_to_fahrenheit(x: Real) -> Real:
    """Convert a temperature from Celsius to Fahrenheit."""
    return x * 9 / 5 + 32


def fahrenheit_to_celsius(x: Real) -> Real:
    """Convert a temperature from Fahrenheit to Celsius."""
    return (x - 32) * 5 / 9


def celsius_to_kelvin(x: Real) -> Real:
    """Convert a temperature from Celsius to Kelvin."""
    return x + 273.15


def kelvin_to_celsius(x: Real) -> Real:
    """Convert a temperature from Kelvin to Celsius."""
    return x - 273.15


def kilometres_to_miles(x: Real) -> Real:
    """Convert a distance from kilometres to miles."""
    return x / 1.609344


def miles_to_kilometres(x: Real) -> Real:
    """Convert a distance from miles to kilometres."""
    return x * 1.609344


def centimetres_to_feet(x: Real) -> Code:
    """Convert a body height from centimetres to feet and inches."""
    feet, inches = divmod(round(x / 2.54), 12)
    return f"{feet} ft {inches} in"


def feet_to_centimetres(feet: Whole, inches: Whole) -> Real:
    """Convert a height in feet and inches to centimetres."""
    return (12 * feet + inches) * 2.54


def kilograms_to_stone(x: Real) -> Code:
    """Convert a body weight from kilograms to stone and pounds."""
    stone, pounds = divmod(round(x / 0.45359237), 14)
    return f"{stone} st {pounds} lb"


def pounds_to_kilograms(pounds: Real, ounces: Real) -> Real:
    """Convert a weight in pounds and ounces to kilograms."""
    return (pounds + ounces / 16) * 0.45359237


def fuel_economy(x: Real) -> Real:
    """Convert fuel economy between miles per gallon and litres per 100 kilometres."""
    return 235.214583 / x


def speed_to_pace(x: Real) -> Code:
    """Convert a speed in km/h to a running pace per kilometre."""
    seconds = round(3600 / x)
    return f"{seconds // 60}:{seconds % 60:02d}"


def wind_force(x: Real) -> Whole:
    """The Beaufort wind force of a wind speed in km/h."""
    return sum(x >= limit for limit in _BEAUFORT_KMH)


def wind_chill(temperature: Real, wind: Real) -> Real:
    """The felt temperature in wind, from degrees Celsius and km/h."""
    within(temperature, -90, 60, "temperature")
    within(wind, 0, 400, "wind")
    factor = wind**0.16
    return round(13.12 + 0.6215 * temperature - 11.37 * factor + 0.3965 * temperature * factor, 1)


def dew_point(temperature: Real, humidity: Real) -> Real:
    """The dew point of air from temperature in Celsius and humidity in percent."""
    within(temperature, -80, 100, "temperature")
    within(humidity, 0, 100, "humidity")
    gamma = math.log(humidity / 100) + 17.62 * temperature / (243.12 + temperature)
    return round(243.12 * gamma / (17.62 - gamma), 1)


def altitude_pressure(x: Real) -> Real:
    """The air pressure in hectopascals at a height in metres."""
    within(x, -400, 11_000, "height")
    return round(1013.25 * (1 - 0.0065 * x / 288.15) ** 5.255, 1)


def compass_direction(x: Real) -> Code:
    """The compass direction, such as northwest, of a bearing in degrees."""
    return _COMPASS[math.floor(x / 45 + 0.5) % 8]


def degrees_to_radians(x: Real) -> Real:
    """Convert an angle from degrees to radians."""
    return math.radians(x)


def radians_to_degrees(x: Real) -> Real:
    """Convert an angle from radians to degrees."""
    return math.degrees(x)


def degrees_minutes_seconds(x: Real) -> Code:
    """Write a decimal angle as degrees, minutes and seconds."""
    seconds = round(abs(x) * 3600)
    sign = "-" if x < 0 else ""
    return f"{sign}{seconds // 3600}d {seconds // 60 % 60}m {seconds % 60}s"


def readable_bytes(x: Whole) -> Code:
    """Write a number of bytes as KiB, MiB or GiB."""
    within(x, 0, 10**15, "bytes")
    power = min(x.bit_length() - 1, 40) // 10 if x else 0
    return f"{x / 1024**power:.1f} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"


def download_time(megabytes: Real, megabits: Real) -> Real:
    """Seconds to download a file of megabytes at megabits per second."""
    return round(megabytes * 8 / megabits, 1)


def decibels(x: Real) -> Real:
    """Convert a power ratio to decibels."""
    return 10 * math.log10(x)


def acidity(x: Real) -> Real:
    """The pH of a solution from its hydrogen ions in micromoles per litre."""
    return round(6 - math.log10(x), 2)


def body_mass_index(kilograms: Real, centimetres: Real) -> Real:
    """The body mass index from weight in kilograms and height in centimetres."""
    return round(kilograms / (centimetres / 100) ** 2, 1)


def paper_pixels(size: str, dpi: Whole) -> Code:
    """The pixels of a paper size such as A4 printed at a resolution."""
    series, number = size[:1].upper(), size[1:]
    if series not in "ABC" or not number.isdecimal() or int(number) > 10:
        raise ValueError("give a paper size from A0 to C10")
    area_root = {"A": 2**0.25, "B": 2**0.5, "C": 2**0.375}[series]
    height = 1000 / 25.4 * dpi * area_root * 2 ** (-int(number) / 2)
    return f"{round(height / 2**0.5)} x {round(height)}"


def note_frequency(x: Whole) -> Real:
    """The frequency in hertz of a piano key numbered from one."""
    within(x, 1, 108, "key")
    return round(440 * 2 ** ((x - 49) / 12), 2)


def horsepower_to_kilowatts(x: Real) -> Real:
    """Convert engine power from metric horsepower to kilowatts."""
    return 75 * 9.80665 * x / 1000


def electric_power(volts: Real, ohms: Real) -> Real:
    """The electric power in watts of a voltage across a resistance."""
    return volts * volts / ohms


def parallel_resistance(x: Real, y: Real) -> Real:
    """The total resistance of two resistors connected in parallel."""
    return x * y / (x + y)


def fall_time(x: Real) -> Real:
    """Seconds that an object takes to fall from a height in metres."""
    return round(math.sqrt(2 * x / 9.80665), 2)


TOOLS = (
    WorldTool(
        function=celsius_to_fahrenheit,
        draw={"x": real(-40, 200)},
        needs=(
            "the [Celsius to Fahrenheit] conversion of {x}",
            "the [temperature in Fahrenheit] when it is {x} in Celsius",
            "convert {x} [from Celsius to Fahrenheit]",
        ),
        unseen=(
            "the [American temperature, °F,] for {x} in Celsius",
            "turn {x} [from degrees C into degrees F]",
        ),
    ),
    WorldTool(
        function=fahrenheit_to_celsius,
        draw={"x": real(-40, 400)},
        needs=(
            "the [Fahrenheit to Celsius] conversion of {x}",
            "the [temperature in Celsius] when it is {x} in Fahrenheit",
            "convert {x} [from Fahrenheit to Celsius]",
        ),
        unseen=(
            "turn {x} [from degrees F into degrees C]",
            "the [centigrade temperature from Fahrenheit] for {x}",
        ),
    ),
    WorldTool(
        function=celsius_to_kelvin,
        draw={"x": real(-200, 900)},
        needs=(
            "the [Celsius to Kelvin] conversion of {x}",
            "the [absolute temperature in Kelvin] when it is {x} in Celsius",
            "convert {x} [from Celsius to Kelvin]",
        ),
        unseen=(
            "turn {x} [from degrees C into kelvins]",
            "the [temperature above absolute zero] for {x} in Celsius",
        ),
    ),
    WorldTool(
        function=kelvin_to_celsius,
        draw={"x": real(10, 900)},
        needs=(
            "the [Kelvin to Celsius] conversion of {x}",
            "the [Celsius temperature from Kelvin] for {x}",
            "convert {x} [from Kelvin to Celsius]",
        ),
        unseen=(
            "turn {x} [from kelvins into degrees C]",
            "the [centigrade temperature from absolute kelvins] for {x}",
        ),
    ),
    WorldTool(
        function=kilometres_to_miles,
        draw={"x": real(1, 900)},
        needs=(
            "the [kilometres to miles] conversion of {x}",
            "the [distance in miles] for {x} in kilometres",
            "convert {x} [from kilometres to miles]",
        ),
        unseen=(
            "turn {x} [from km into miles]",
            "how [many miles a road measured in km has], for {x}",
        ),
    ),
    WorldTool(
        function=miles_to_kilometres,
        draw={"x": real(1, 900)},
        needs=(
            "the [miles to kilometres] conversion of {x}",
            "the [distance in kilometres] for {x} in miles",
            "convert {x} [from miles to kilometres]",
        ),
        unseen=(
            "turn {x} [from miles into km]",
            "how [many kilometres a road measured in miles has], for {x}",
        ),
    ),
    WorldTool(
        function=centimetres_to_feet,
        draw={"x": real(60, 230)},
        needs=(
            "the [height in feet and inches] for {x} in centimetres",
            "convert {x} [from centimetres to feet and inches]",
            "the [feet and inches] for a height of {x} in cm",
        ),
        unseen=(
            "how [tall in feet] somebody measuring {x} in cm is",
            "turn {x} [from cm into ft and in]",
        ),
    ),
    WorldTool(
        function=feet_to_centimetres,
        draw={"feet": whole(1, 30), "inches": whole(1, 11)},
        needs=(
            "the [height in centimetres] of {feet} feet {inches} inches",
            "convert {feet} feet {inches} inches [from feet and inches to centimetres]",
            "the [centimetres in feet and inches] of {feet} and {inches}",
        ),
        unseen=(
            "turn {feet} ft {inches} in [into metric height, cm]",
            "how [tall in cm a person in feet and inches is], {feet} ft {inches} in",
        ),
    ),
    WorldTool(
        function=kilograms_to_stone,
        draw={"x": real(30, 180)},
        needs=(
            "the [weight in stone] for {x} in kilograms",
            "convert {x} [from kilograms to stone and pounds]",
            "the [stone and pounds] of a person weighing {x} in kilograms",
        ),
        unseen=(
            "the [British body weight in stone] for {x} kilos",
            "turn {x} [from kilos into stone and lb]",
        ),
    ),
    WorldTool(
        function=pounds_to_kilograms,
        draw={"pounds": whole(1, 200), "ounces": whole(1, 15)},
        needs=(
            "the [weight in kilograms] of {pounds} pounds {ounces} ounces",
            "convert {pounds} pounds {ounces} ounces [from pounds and ounces to kilograms]",
            "the [kilograms in pounds and ounces] of {pounds} and {ounces}",
        ),
        unseen=(
            "turn {pounds} lb {ounces} oz [into metric weight, kg]",
            "how [many kilos lb and oz make], {pounds} lb {ounces} oz",
        ),
    ),
    WorldTool(
        function=fuel_economy,
        draw={"x": real(5, 90)},
        needs=(
            "the [miles per gallon to litres per 100 km] conversion of {x}",
            "the [fuel economy in the other unit] for {x}",
            "convert {x} [miles per gallon of fuel]",
        ),
        unseen=(
            "how [thirsty a car is in l/100 km] at {x} mpg",
            "turn {x} mpg [into fuel consumption]",
        ),
    ),
    WorldTool(
        function=speed_to_pace,
        draw={"x": real(4, 25, digits=2)},
        needs=(
            "the [running pace] at {x} km/h",
            "convert {x} [from speed to pace per kilometre]",
            "the [minutes per kilometre] when running at {x} km/h",
        ),
        unseen=(
            "the [jogging tempo for each kilometre] at {x} km/h",
            "how [long a runner needs per kilometre] at {x} km/h",
        ),
    ),
    WorldTool(
        function=wind_force,
        draw={"x": real(0, 140)},
        needs=(
            "the [Beaufort number] of wind blowing at {x} km/h",
            "the [wind force] at {x} km/h",
            "which [Beaufort wind force] {x} km/h is",
        ),
        unseen=(
            "how [strong a wind is on the Beaufort scale] at {x} km/h",
            "the [sailor's wind scale grade] for {x} km/h",
        ),
    ),
    WorldTool(
        function=wind_chill,
        draw={"temperature": whole(-30, 9), "wind": whole(6, 90)},
        needs=(
            "the [wind chill] at {temperature} °C with {wind} km/h of wind",
            "the [felt temperature in wind] of {wind} km/h when it is {temperature} °C",
            "how [cold it feels in the wind] at {temperature} °C and {wind} km/h",
        ),
        unseen=(
            "the [chill felt on the skin in moving air], {temperature} °C and {wind} km/h",
            "what [temperature the wind makes it feel like], {temperature} °C at {wind} km/h",
        ),
    ),
    WorldTool(
        function=dew_point,
        draw={"temperature": whole(0, 40), "humidity": whole(15, 95)},
        needs=(
            "the [dew point] at {temperature} °C and {humidity} % humidity",
            "the [temperature at which dew forms] for {temperature} °C and {humidity} %",
            "the [dew point of air] with {temperature} °C and {humidity} percent humidity",
        ),
        unseen=(
            "when [moisture in the air condenses], given {temperature} °C and {humidity} % humidity",
            "the [condensation temperature of humid air], {temperature} °C, {humidity} %",
        ),
    ),
    WorldTool(
        function=altitude_pressure,
        draw={"x": whole(100, 9000)},
        needs=(
            "the [air pressure at a height] of {x} metres",
            "the [atmospheric pressure] at {x} m above the sea",
            "how [high the air pressure is on a mountain] of {x} metres",
        ),
        unseen=(
            "the [barometric pressure by altitude], {x} m up",
            "what a [barometer shows at an elevation] of {x} m",
        ),
    ),
    WorldTool(
        function=compass_direction,
        draw={"x": whole(1, 719)},
        needs=(
            "the [compass direction] of {x} degrees",
            "the [compass point of a bearing] of {x} degrees",
            "which [direction a bearing points to], {x} degrees",
        ),
        unseen=(
            "whether it is [north, south, east or west] at {x} degrees",
            "the [compass heading of a bearing] at {x} degrees",
        ),
    ),
    WorldTool(
        function=degrees_to_radians,
        draw={"x": whole(1, 719)},
        needs=(
            "the [degrees to radians] conversion of {x}",
            "the [angle in radians] for {x} degrees",
            "convert {x} [from degrees to radians]",
        ),
        unseen=(
            "turn {x} [from deg into rad]",
            "the [radian measure of an angle in degrees], {x}",
        ),
    ),
    WorldTool(
        function=radians_to_degrees,
        draw={"x": real(0, 12, digits=2)},
        needs=(
            "the [radians to degrees] conversion of {x}",
            "the [angle in degrees] for {x} radians",
            "convert {x} [from radians to degrees]",
        ),
        unseen=(
            "turn {x} [from rad into deg]",
            "the [degree measure of an angle in radians], {x}",
        ),
    ),
    WorldTool(
        function=degrees_minutes_seconds,
        draw={"x": real(-180, 180, digits=3)},
        needs=(
            "the [degrees, minutes and seconds] of {x}",
            "write {x} [as degrees with arc minutes and seconds]",
            "convert {x} [from a decimal angle to minutes and seconds of arc]",
        ),
        unseen=(
            "the [angle in degrees, arc minutes and arc seconds] for {x}",
            "turn {x} [from decimal degrees into minutes and seconds]",
        ),
    ),
    WorldTool(
        function=readable_bytes,
        draw={"x": whole(2000, 10**7)},
        needs=(
            "the [file size in readable units] for {x} bytes",
            "write {x} [bytes as KiB or MiB]",
            "the [readable size of bytes] numbering {x}",
        ),
        unseen=(
            "how [big in kibibytes or mebibytes] {x} bytes is",
            "the [human-friendly file size] of {x} bytes",
        ),
    ),
    WorldTool(
        function=download_time,
        draw={"megabytes": whole(10, 9000), "megabits": whole(2, 500)},
        needs=(
            "the [download time] of {megabytes} MB at {megabits} Mbit/s",
            "how [many seconds a download takes], {megabytes} MB at {megabits} Mbit/s",
            "the [time to download a file] of {megabytes} megabytes with {megabits} megabits per second",
        ),
        unseen=(
            "how [long fetching a file over a line takes], {megabytes} MB over {megabits} Mbit/s",
            "the [transfer duration of a file] of {megabytes} MB at {megabits} Mbit/s",
        ),
    ),
    WorldTool(
        function=decibels,
        draw={"x": whole(2, 9999)},
        needs=(
            "the [decibels] of a power ratio of {x}",
            "convert {x} [from a power ratio to decibels]",
            "the [decibel value of a power ratio] of {x}",
        ),
        unseen=(
            "how [many decibels a power gain is], for {x} times the power",
            "the [loudness ratio on the decibel scale] for {x}",
        ),
    ),
    WorldTool(
        function=acidity,
        draw={"x": real(0.1, 90)},
        needs=(
            "the [pH] with {x} micromoles of hydrogen ions per litre",
            "the [acidity of a solution] with {x} micromoles per litre",
            "the [pH value from hydrogen ions] at {x} micromoles per litre",
        ),
        unseen=(
            "how [acid a liquid is] with {x} micromoles of H+ per litre",
            "the [acid-base level of water] holding {x} micromoles of ions",
        ),
    ),
    WorldTool(
        function=body_mass_index,
        draw={"kilograms": whole(40, 150), "centimetres": whole(140, 210)},
        needs=(
            "the [body mass index] for {kilograms} kg and {centimetres} cm",
            "the [BMI] of a person of {centimetres} cm weighing {kilograms} kg",
            "the [body mass index of a person] with {kilograms} kg at {centimetres} cm",
        ),
        unseen=(
            "the [weight-for-height index] at {kilograms} kg and {centimetres} cm",
            "whether [a body weight suits a height, as BMI], {kilograms} kg at {centimetres} cm",
        ),
    ),
    WorldTool(
        function=paper_pixels,
        draw={
            "size": lambda r: r.choice("ABC") + str(r.randint(0, 9)),
            "dpi": choice(72, 96, 100, 144, 150, 200, 240, 300),
        },
        needs=(
            "the [paper size in pixels] of {size} at {dpi} dpi",
            "how [many pixels a sheet of paper has], {size} scanned at {dpi} dpi",
            "the [pixels of a printed page] of size {size} at {dpi} dots per inch",
        ),
        unseen=(
            "the [scan resolution of a standard sheet] of {size} at {dpi} dpi",
            "how [large a page image gets], for {size} at {dpi} dots per inch",
        ),
    ),
    WorldTool(
        function=note_frequency,
        draw={"x": whole(1, 108)},
        needs=(
            "the [frequency of the piano key] {x}",
            "the [pitch in hertz of a piano key] numbered {x}",
            "how [many hertz a piano key sounds at], key {x}",
        ),
        unseen=(
            "the [musical note frequency on a keyboard] at key {x}",
            "how [fast a piano string vibrates] for key {x}",
        ),
    ),
    WorldTool(
        function=horsepower_to_kilowatts,
        draw={"x": whole(20, 900)},
        needs=(
            "the [horsepower to kilowatts] conversion of {x}",
            "the [engine power in kilowatts] for {x} in horsepower",
            "convert {x} [from horsepower to kilowatts]",
        ),
        unseen=(
            "turn {x} [from hp into kW]",
            "how [many kW a motor has] at {x} hp",
        ),
    ),
    WorldTool(
        function=electric_power,
        draw={"volts": whole(2, 400), "ohms": whole(2, 200)},
        needs=(
            "the [electric power] of {volts} volts across {ohms} ohms",
            "how [many watts a resistor turns into heat], {volts} volts at {ohms} ohms",
            "the [power in watts from voltage and resistance], {volts} V and {ohms} ohms",
        ),
        unseen=(
            "the [wattage of a heater] with {volts} V over {ohms} ohms",
            "how [much electrical power is used] by {ohms} ohms at {volts} V",
        ),
    ),
    WorldTool(
        function=parallel_resistance,
        draw={"x": whole(2, 999), "y": whole(2, 999)},
        needs=(
            "the [parallel resistance] of {x} and {y} ohms",
            "the [resistance of two resistors in parallel], {x} and {y} ohms",
            "the [total of parallel resistors] {x} and {y}",
        ),
        unseen=(
            "the [combined ohms side by side in a circuit] of {x} and {y}",
            "the [equivalent resistor when wired in parallel] for {x} and {y}",
        ),
    ),
    WorldTool(
        function=fall_time,
        draw={"x": real(1, 500)},
        needs=(
            "the [fall time] from {x} metres",
            "how [many seconds an object falls] from a height of {x} m",
            "the [seconds of free fall] over {x} metres",
        ),
        unseen=(
            "how [long a dropped stone takes to hit the ground] from {x} m",
            "the [duration of a drop under gravity] over {x} m",
        ),
    ),
)
