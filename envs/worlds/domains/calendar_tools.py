"""Years, months and seasons: what a calendar on the wall answers."""

import calendar
import datetime

from envs.worlds.authoring import WorldTool, within
from envs.worlds.draws import choice, day, whole
from envs.worlds.kinds import Code, Day, Verdict, Whole, Word, Year

_MONTHS = tuple(calendar.month_name)[1:]
_WEEKDAYS = tuple(calendar.day_name)
_ANIMALS = "rat ox tiger rabbit dragon snake horse goat monkey rooster dog pig".split()
_STONES = "garnet amethyst aquamarine diamond emerald pearl ruby peridot sapphire opal topaz turquoise".split()
_SIGNS = (
    (120, "Capricorn"), (219, "Aquarius"), (321, "Pisces"), (420, "Aries"), (521, "Taurus"), (621, "Gemini"),
    (723, "Cancer"), (823, "Leo"), (923, "Virgo"), (1023, "Libra"), (1122, "Scorpio"), (1222, "Sagittarius"),
    (1300, "Capricorn"),
)  # fmt: skip
_YEAR = whole(1600, 2999)


def _year(year: int) -> None:
    within(year, 1583, 9990, "year")


def is_leap_year(year: Year) -> Verdict:
    """Check whether a year has a February 29."""
    _year(year)
    return "yes" if calendar.isleap(year) else "no"


def next_leap_year(year: Year) -> Year:
    """The first leap year after a given year."""
    _year(year)
    return next(later for later in range(year + 1, year + 9) if calendar.isleap(later))


def count_leap_years(start: Year, end: Year) -> Whole:
    """Count the leap years from one year until another."""
    return calendar.leapdays(start, end)


def days_in_month(year: Year, month: int) -> Whole:
    """The number of days in a month of a year."""
    _year(year)
    return calendar.monthrange(year, month)[1]


def easter_sunday(year: Year) -> Day:
    """The date of Easter Sunday in a year."""
    _year(year)
    a, b, c = year % 19, year // 100, year % 100
    d = (19 * a + b - b // 4 - (b - (b + 8) // 25 + 1) // 3 + 15) % 30
    e = (32 + 2 * (b % 4) + 2 * (c // 4) - d - c % 4) % 7
    month, date = divmod(d + e - 7 * ((a + 11 * d + 22 * e) // 451) + 114, 31)
    return datetime.date(year, month, date + 1).isoformat()


def zodiac_sign(day: Day) -> Word:
    """The star sign of a person born on a date."""
    date = datetime.date.fromisoformat(day)
    return next(sign for end, sign in _SIGNS if 100 * date.month + date.day < end)


def chinese_zodiac(year: Year) -> Word:
    """The animal of the Chinese zodiac for a year."""
    return _ANIMALS[(year - 4) % 12]


def birthstone(day: Day) -> Word:
    """The gem that is the birthstone for a birthday's month."""
    return _STONES[datetime.date.fromisoformat(day).month - 1]


def season_of_date(day: Day) -> Word:
    """The season, spring to winter, of a date in the north."""
    month = datetime.date.fromisoformat(day).month
    return ("winter", "spring", "summer", "autumn")[month % 12 // 3]


def month_name(day: Day) -> Word:
    """The English name of the month in which a date lies."""
    return datetime.date.fromisoformat(day).strftime("%B")


def format_long_date(day: Day) -> Code:
    """Write a date in words, such as 5 March 2024."""
    date = datetime.date.fromisoformat(day)
    return f"{date.day} {_MONTHS[date.month - 1]} {date.year}"


def format_american_date(day: Day) -> Code:
    """Write a date in American order, month/day/year."""
    return datetime.date.fromisoformat(day).strftime("%m/%d/%Y")


def century_of_year(year: Year) -> Whole:
    """The number of the century to which a year belongs."""
    return (year + 99) // 100


def start_of_decade(year: Year) -> Year:
    """The first year of the decade of a year."""
    return year - year % 10


def friday_thirteenths(year: Year) -> Whole:
    """Count how many Fridays the thirteenth a year has."""
    _year(year)
    return [datetime.date(year, month, 13).weekday() for month in range(1, 13)].count(4)


def weeks_in_year(year: Year) -> Whole:
    """The number of ISO weeks in a year, 52 or 53."""
    _year(year)
    return datetime.date(year, 12, 28).isocalendar().week


def new_year_weekday(year: Year) -> Word:
    """The weekday on which January first falls in a year."""
    _year(year)
    return _WEEKDAYS[calendar.weekday(year, 1, 1)]


def first_weekday_of_month(year: Year, month: int, weekday: str) -> Day:
    """The date of the first such weekday in a month, such as first Monday."""
    _year(year)
    first = datetime.date(year, month, 1)
    return (first + datetime.timedelta((_WEEKDAYS.index(weekday) - first.weekday()) % 7)).isoformat()


def next_same_calendar(year: Year) -> Year:
    """The next year whose calendar has the same weekdays for all dates."""
    _year(year)
    key = (calendar.weekday(year, 1, 1), calendar.isleap(year))
    return next(y for y in range(year + 1, year + 50) if (calendar.weekday(y, 1, 1), calendar.isleap(y)) == key)


TOOLS = (
    WorldTool(
        function=is_leap_year,
        draw={"year": _YEAR},
        needs=(
            "whether {year} [is a leap year]",
            "whether {year} [has a February 29]",
            "check {year} [for being a leap year]",
        ),
        unseen=(
            "whether {year} [is a year with a leap day]",
            "whether {year} [has one more day in February]",
        ),
    ),
    WorldTool(
        function=next_leap_year,
        draw={"year": _YEAR},
        needs=(
            "the [next leap year] after {year}",
            "the [first leap year following] {year}",
            "when the [next leap year comes] after {year}",
        ),
        unseen=(
            "the [leap year coming up] after {year}",
            "which [later year is the next with a leap day] after {year}",
        ),
    ),
    WorldTool(
        function=count_leap_years,
        draw={"start": whole(1600, 1999), "end": whole(2000, 2399)},
        needs=(
            "the [number of leap years] from {start} until {end}",
            "how [many leap years] lie between {start} and {end}",
            "count the [leap years in a span] from {start} to {end}",
        ),
        unseen=(
            "how [many times a leap year occurs] from {start} until {end}",
            "the [tally of leap years] between {start} and {end}",
        ),
    ),
    WorldTool(
        function=days_in_month,
        draw={"year": whole(1900, 2199), "month": whole(1, 12)},
        needs=(
            "the [number of days in a month], month {month} of {year}",
            "how [many days a month has], for month {month} of {year}",
            "the [length of the month] numbered {month} in {year}",
        ),
        unseen=(
            "the [day count of a month], number {month} in {year}",
            "whether [a month has 28, 29, 30 or 31 days], month {month} of {year}",
        ),
    ),
    WorldTool(
        function=easter_sunday,
        draw={"year": _YEAR},
        needs=(
            "the [date of Easter] in {year}",
            "when [Easter Sunday falls] in {year}",
            "the [Easter date] for {year}",
        ),
        unseen=(
            "which [day Easter is celebrated] in {year}",
            "the [Sunday of the Easter holiday] of {year}",
        ),
    ),
    WorldTool(
        function=zodiac_sign,
        draw={"day": day()},
        needs=(
            "the [star sign] of someone born on {day}",
            "the [zodiac sign] for {day}",
            "the [sign of the zodiac by birthday] of {day}",
        ),
        unseen=(
            "the [horoscope sign] belonging to {day}",
            "which [astrological sign] a person born on {day} has",
        ),
    ),
    WorldTool(
        function=chinese_zodiac,
        draw={"year": _YEAR},
        needs=(
            "the [Chinese zodiac animal] of {year}",
            "which [animal stands for the year] {year} in China",
            "the [animal of the Chinese year] for {year}",
        ),
        unseen=(
            "the [Chinese horoscope animal] for {year}",
            "whether {year} is the [year of the rat, ox, tiger or another animal]",
        ),
    ),
    WorldTool(
        function=birthstone,
        draw={"day": day()},
        needs=(
            "the [birthstone] for {day}",
            "which [gem belongs to a birthday] on {day}",
            "the [birthstone of a person] born on {day}",
        ),
        unseen=(
            "the [gemstone of the birth month] for {day}",
            "which [jewel stone goes with a birthday] on {day}",
        ),
    ),
    WorldTool(
        function=season_of_date,
        draw={"day": day()},
        needs=(
            "the [season of the year] on {day}",
            "which [season a date is in], for {day}",
            "whether it is [spring, summer, autumn or winter] on {day}",
        ),
        unseen=(
            "which of the [four seasons] {day} falls into",
            "the [season, such as winter,] around {day}",
        ),
    ),
    WorldTool(
        function=month_name,
        draw={"day": day()},
        needs=(
            "the [name of the month] for {day}",
            "which [month a date lies in, by name], for {day}",
            "the [month in English] of {day}",
        ),
        unseen=(
            "the [month's name, January to December,] in {day}",
            "how the [month of a date is called], given {day}",
        ),
    ),
    WorldTool(
        function=format_long_date,
        draw={"day": day()},
        needs=(
            "the [date written in words] for {day}",
            "write {day} [as a date in words]",
            "the [long date format] of {day}",
        ),
        unseen=(
            "the [date in full with its month as a word] for {day}",
            "spell {day} [as a written-out date]",
        ),
    ),
    WorldTool(
        function=format_american_date,
        draw={"day": day()},
        needs=(
            "the [American date format] of {day}",
            "write {day} [in month/day/year order]",
            "the [US style date] for {day}",
        ),
        unseen=(
            "put {day} [in American order, month first]",
            "the [mm/dd/yyyy form] of {day}",
        ),
    ),
    WorldTool(
        function=century_of_year,
        draw={"year": _YEAR},
        needs=(
            "the [century of the year] {year}",
            "which [century a year belongs to], for {year}",
            "the [century number] for {year}",
        ),
        unseen=(
            "the [hundred-year period, century,] that holds {year}",
            "which [numbered century] {year} falls in",
        ),
    ),
    WorldTool(
        function=start_of_decade,
        draw={"year": _YEAR},
        needs=(
            "the [first year of the decade] of {year}",
            "the [decade of a year] for {year}",
            "when the [decade began] that contains {year}",
        ),
        unseen=(
            "the [opening year of the ten-year decade] around {year}",
            "which [decade] {year} is in",
        ),
    ),
    WorldTool(
        function=friday_thirteenths,
        draw={"year": _YEAR},
        needs=(
            "the [number of Fridays the thirteenth] in {year}",
            "how [many times Friday the 13th comes] in {year}",
            "count the [Friday the thirteenths] of {year}",
        ),
        unseen=(
            "how [many unlucky Fridays, the 13th,] {year} has",
            "the [tally of Friday 13 dates] within {year}",
        ),
    ),
    WorldTool(
        function=weeks_in_year,
        draw={"year": _YEAR},
        needs=(
            "the [number of ISO weeks] in {year}",
            "how [many calendar weeks a year has], for {year}",
            "whether there are [52 or 53 weeks] in {year}",
        ),
        unseen=(
            "the [week count of a year], {year}",
            "how [many ISO weeks there are] throughout {year}",
        ),
    ),
    WorldTool(
        function=new_year_weekday,
        draw={"year": _YEAR},
        needs=(
            "the [weekday of January first] in {year}",
            "which [weekday New Year's Day is] in {year}",
            "the [weekday on which the year starts] for {year}",
        ),
        unseen=(
            "which [day of the week opens the year] {year}",
            "the [weekday of New Year] in {year}",
        ),
    ),
    WorldTool(
        function=first_weekday_of_month,
        draw={"year": whole(1950, 2099), "month": whole(1, 12), "weekday": choice(*_WEEKDAYS)},
        needs=(
            "the [first such weekday of a month], {weekday} in month {month} of {year}",
            "when the [first weekday of its kind in a month] is, {weekday} of month {month} in {year}",
            "the [date of the first named weekday in a month]: {weekday}, month {month}, {year}",
        ),
        unseen=(
            "the [earliest date in a month with a given weekday], {weekday}, month {month}, {year}",
            "which [date is the opening Monday or other weekday of a month], {weekday} of month {month} in {year}",
        ),
    ),
    WorldTool(
        function=next_same_calendar,
        draw={"year": _YEAR},
        needs=(
            "the [next year with the same calendar] as {year}",
            "when an [old calendar can be used again], the one from {year}",
            "the [next year with identical weekdays] to {year}",
        ),
        unseen=(
            "which [later year has the same weekday for every date] as {year}",
            "the [year in which the wall calendar repeats] after {year}",
        ),
    ),
)
