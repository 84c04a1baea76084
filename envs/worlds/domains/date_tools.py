"""Arithmetic with dates, written as 2024-03-17: differences, shifts, and where a date lies in its year."""

import calendar
import datetime

from envs.worlds.authoring import WorldTool, within
from envs.worlds.draws import choice, day, whole
from envs.worlds.kinds import Day, Verdict, Whole, Word, Year

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MOST_DAYS = 40_000


def _date(text: str) -> datetime.date:
    return datetime.date.fromisoformat(text)


def days_between(start: Day, end: Day) -> Whole:
    """Count the calendar days from one date to another."""
    return (_date(end) - _date(start)).days


def workdays_between(start: Day, end: Day) -> Whole:
    """Count the working days, Monday to Friday, from one date until another."""
    first, last = sorted((_date(start), _date(end)))
    within((last - first).days, 0, _MOST_DAYS, "days apart")
    return sum((first + datetime.timedelta(i)).weekday() < 5 for i in range((last - first).days))


def weekends_between(start: Day, end: Day) -> Whole:
    """Count the Saturdays and Sundays from one date until another."""
    first, last = sorted((_date(start), _date(end)))
    within((last - first).days, 0, _MOST_DAYS, "days apart")
    return sum((first + datetime.timedelta(i)).weekday() >= 5 for i in range((last - first).days))


def months_between(start: Day, end: Day) -> Whole:
    """Count the full months that pass from one date to another."""
    first, last = sorted((_date(start), _date(end)))
    return 12 * (last.year - first.year) + last.month - first.month - (last.day < first.day)


def years_between(start: Day, end: Day) -> Whole:
    """The age in full years on a date, given the date of birth."""
    born, now = sorted((_date(start), _date(end)))
    return now.year - born.year - ((now.month, now.day) < (born.month, born.day))


def add_days(day: Day, days: Whole) -> Day:
    """The date a number of days after a given date."""
    within(days, 0, _MOST_DAYS, "days")
    return (_date(day) + datetime.timedelta(days)).isoformat()


def subtract_days(day: Day, days: Whole) -> Day:
    """The date a number of days before a given date."""
    within(days, 0, _MOST_DAYS, "days")
    return (_date(day) - datetime.timedelta(days)).isoformat()


def add_weeks(day: Day, weeks: Whole) -> Day:
    """The date a number of weeks after a given date."""
    within(weeks, 0, _MOST_DAYS // 7, "weeks")
    return (_date(day) + datetime.timedelta(weeks=weeks)).isoformat()


def add_months(day: Day, months: Whole) -> Day:
    """The date a number of months later, capped at the month's end."""
    within(months, 0, 1200, "months")
    start = _date(day)
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    return datetime.date(year, month + 1, min(start.day, calendar.monthrange(year, month + 1)[1])).isoformat()


def add_workdays(day: Day, days: Whole) -> Day:
    """The date a number of working days later, skipping weekends."""
    within(days, 0, 2000, "days")
    current = _date(day)
    while days:
        current += datetime.timedelta(1)
        days -= current.weekday() < 5
    return current.isoformat()


def weekday_name(day: Day) -> Word:
    """The day of the week on which a date falls, such as Friday."""
    return _WEEKDAYS[_date(day).weekday()]


def next_weekday(day: Day, weekday: str) -> Day:
    """The first date after a given one that is a named weekday."""
    start = _date(day)
    return (start + datetime.timedelta((_WEEKDAYS.index(weekday) - start.weekday() - 1) % 7 + 1)).isoformat()


def week_number(day: Day) -> Whole:
    """The ISO week number in which a date falls."""
    return _date(day).isocalendar().week


def day_of_year(day: Day) -> Whole:
    """The position of a date within its year, counted from January first."""
    return _date(day).timetuple().tm_yday


def days_left_in_year(day: Day) -> Whole:
    """The number of days remaining after a date until December 31."""
    date = _date(day)
    return (datetime.date(date.year, 12, 31) - date).days


def last_day_of_month(day: Day) -> Day:
    """The final date of the month that contains a date."""
    date = _date(day)
    return date.replace(day=calendar.monthrange(date.year, date.month)[1]).isoformat()


def monday_of_week(day: Day) -> Day:
    """The Monday that begins the week of a date."""
    date = _date(day)
    return (date - datetime.timedelta(date.weekday())).isoformat()


def quarter_of_year(day: Day) -> Whole:
    """The quarter of the year, one to four, of a date."""
    return (_date(day).month + 2) // 3


def year_of_date(day: Day) -> Year:
    """The calendar year that a date belongs to."""
    return _date(day).year


def is_weekend(day: Day) -> Verdict:
    """Check whether a date falls on a Saturday or Sunday."""
    return "yes" if _date(day).weekday() >= 5 else "no"


def julian_day_number(day: Day) -> Whole:
    """The astronomers' Julian day number of a date."""
    return _date(day).toordinal() + 1_721_425


TOOLS = (
    WorldTool(
        function=days_between,
        draw={"start": day(), "end": day()},
        needs=(
            "the [number of days between] {start} and {end}",
            "how [many calendar days] lie between {start} and {end}",
            "the [difference in days] from {start} to {end}",
        ),
        unseen=(
            "the [days elapsed] from {start} until {end}",
            "how [many days apart] {start} and {end} are",
        ),
    ),
    WorldTool(
        function=workdays_between,
        draw={"start": day(2020, 2026), "end": day(2020, 2026)},
        needs=(
            "the [number of working days between] {start} and {end}",
            "how [many weekdays, Monday to Friday,] lie between {start} and {end}",
            "the [count of business days] from {start} until {end}",
        ),
        unseen=(
            "the [office days without weekends] from {start} until {end}",
            "how [many days of work] there are between {start} and {end}",
        ),
    ),
    WorldTool(
        function=weekends_between,
        draw={"start": day(2020, 2026), "end": day(2020, 2026)},
        needs=(
            "the [number of weekend days between] {start} and {end}",
            "how [many Saturdays and Sundays] lie between {start} and {end}",
            "the [count of weekend days] from {start} until {end}",
        ),
        unseen=(
            "how [many days off at weekends] come between {start} and {end}",
            "the [tally of Saturdays plus Sundays] from {start} until {end}",
        ),
    ),
    WorldTool(
        function=months_between,
        draw={"start": day(), "end": day()},
        needs=(
            "the [number of months between] {start} and {end}",
            "how [many full months] pass between {start} and {end}",
            "the [difference in months] from {start} to {end}",
        ),
        unseen=(
            "the [months elapsed] from {start} until {end}",
            "how [many complete months apart] {start} and {end} are",
        ),
    ),
    WorldTool(
        function=years_between,
        draw={"start": day(1930, 2010), "end": day(2011, 2039)},
        needs=(
            "the [age in years] on {end} of someone born on {start}",
            "how [many full years old] a person born on {start} is at {end}",
            "the [age from a birth date] of {start}, as of {end}",
        ),
        unseen=(
            "how [old in completed years] one is on {end} when born on {start}",
            "the [age by date of birth] {start}, reckoned at {end}",
        ),
    ),
    WorldTool(
        function=add_days,
        draw={"day": day(), "days": whole(2, 400)},
        needs=(
            "the [date some days after] {day}, namely {days} later",
            "[add days to a date]: {day} plus {days}",
            "which [date comes a number of days later], starting at {day} and going {days} on",
        ),
        unseen=(
            "move {day} [forward by days], {days} in all",
            "the [future date in so many days], {days} counted from {day}",
        ),
    ),
    WorldTool(
        function=subtract_days,
        draw={"day": day(), "days": whole(2, 400)},
        needs=(
            "the [date some days before] {day}, namely {days} earlier",
            "[subtract days from a date]: {day} minus {days}",
            "which [date comes a number of days earlier], starting at {day} and going {days} back",
        ),
        unseen=(
            "move {day} [back by days], {days} in all",
            "the [past date so many days ago], {days} counted from {day}",
        ),
    ),
    WorldTool(
        function=add_weeks,
        draw={"day": day(), "weeks": whole(2, 80)},
        needs=(
            "the [date some weeks after] {day}, namely {weeks} later",
            "[add weeks to a date]: {day} plus {weeks}",
            "which [date comes a number of weeks later], starting at {day} and going {weeks} on",
        ),
        unseen=(
            "move {day} [forward by weeks], {weeks} in all",
            "the [future date in so many weeks], {weeks} counted from {day}",
        ),
    ),
    WorldTool(
        function=add_months,
        draw={"day": day(), "months": whole(1, 60)},
        needs=(
            "the [date some months after] {day}, namely {months} later",
            "[add months to a date]: {day} plus {months}",
            "which [date comes a number of months later], starting at {day} and going {months} on",
        ),
        unseen=(
            "move {day} [forward by months], {months} in all",
            "the [future date in so many months], {months} counted from {day}",
        ),
    ),
    WorldTool(
        function=add_workdays,
        draw={"day": day(), "days": whole(2, 90)},
        needs=(
            "the [date some working days after] {day}, namely {days} later",
            "[add business days to a date]: {day} plus {days}",
            "which [date comes after skipping weekends], starting at {day} and working {days} days",
        ),
        unseen=(
            "the [deadline in working days], {days} of them from {day}",
            "move {day} [forward by weekdays only], {days} in all",
        ),
    ),
    WorldTool(
        function=weekday_name,
        draw={"day": day()},
        needs=(
            "the [day of the week] on {day}",
            "which [weekday a date falls on], for {day}",
            "the [name of the weekday] for {day}",
        ),
        unseen=(
            "whether it is [Monday, Tuesday or another day of the week] on {day}",
            "which [day in the week] {day} is",
        ),
    ),
    WorldTool(
        function=next_weekday,
        draw={"day": day(), "weekday": choice(*_WEEKDAYS)},
        needs=(
            "the [next date with a given weekday] after {day}, looking for {weekday}",
            "the [first named weekday after a date], {weekday} after {day}",
            "when the [next occurrence of a weekday] comes, {weekday} following {day}",
        ),
        unseen=(
            "the [coming weekday by name], {weekday}, counted from {day}",
            "the [date of the following named weekday], {weekday}, once {day} is over",
        ),
    ),
    WorldTool(
        function=week_number,
        draw={"day": day()},
        needs=(
            "the [ISO week number] of {day}",
            "which [week of the year] {day} falls in",
            "the [calendar week] of {day}",
        ),
        unseen=(
            "the [number of the week in the year] for {day}",
            "which [numbered week] holds {day}",
        ),
    ),
    WorldTool(
        function=day_of_year,
        draw={"day": day()},
        needs=(
            "the [day of the year] of {day}",
            "the [ordinal day counted from January first] for {day}",
            "how [many days into the year] {day} is",
        ),
        unseen=(
            "the [position within the year] of {day}",
            "which [numbered day of the year] {day} is",
        ),
    ),
    WorldTool(
        function=days_left_in_year,
        draw={"day": day()},
        needs=(
            "the [days remaining in the year] after {day}",
            "how [many days are left until the end of the year] from {day}",
            "the [days until December 31] counted from {day}",
        ),
        unseen=(
            "how [long until the year ends], in days, from {day}",
            "the [rest of the year in days] following {day}",
        ),
    ),
    WorldTool(
        function=last_day_of_month,
        draw={"day": day()},
        needs=(
            "the [last day of the month] that holds {day}",
            "the [final date of the month] around {day}",
            "the [month end] for {day}",
        ),
        unseen=(
            "the [closing date of the month] in which {day} lies",
            "the [end-of-month date] belonging to {day}",
        ),
    ),
    WorldTool(
        function=monday_of_week,
        draw={"day": day()},
        needs=(
            "the [Monday of the week] around {day}",
            "the [date on which the week begins] for {day}",
            "the [start of the week] that holds {day}",
        ),
        unseen=(
            "the [first day of the week] in which {day} lies",
            "go back to the [Monday that opens the week] of {day}",
        ),
    ),
    WorldTool(
        function=quarter_of_year,
        draw={"day": day()},
        needs=(
            "the [quarter of the year] of {day}",
            "which [calendar quarter] {day} is in",
            "the [quarter number, one to four,] for {day}",
        ),
        unseen=(
            "which [three-month quarter] holds {day}",
            "the [fiscal quarter of a date], for {day}",
        ),
    ),
    WorldTool(
        function=year_of_date,
        draw={"day": day(1600, 2399)},
        needs=(
            "the [year of the date] for {day}",
            "which [calendar year a date belongs to], for {day}",
            "the [year that contains] {day}",
        ),
        unseen=(
            "the [year part of a date] in {day}",
            "which [year a date lies in], given {day}",
        ),
    ),
    WorldTool(
        function=is_weekend,
        draw={"day": day()},
        needs=(
            "whether {day} [falls on a weekend]",
            "whether {day} [is a Saturday or Sunday]",
            "check {day} [for being a weekend date]",
        ),
        unseen=(
            "whether {day} [lies in the weekend]",
            "whether {day} [is a weekend and not a workday]",
        ),
    ),
    WorldTool(
        function=julian_day_number,
        draw={"day": day()},
        needs=(
            "the [Julian day number] of {day}",
            "the [astronomers' day count] for {day}",
            "the [Julian day] of {day}",
        ),
        unseen=(
            "the [astronomical Julian date] for {day}",
            "the [continuous day count used in astronomy] for {day}",
        ),
    ),
)
