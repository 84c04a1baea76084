"""Times of day, written as 14:05, and durations in seconds, minutes and hours."""

import datetime

from envs.worlds.authoring import WorldTool, within
from envs.worlds.draws import choice, clock, day, encoded, real, whole
from envs.worlds.kinds import Clock, Code, Day, Real, Whole

_DAY = 24 * 60


def _minutes(text: str) -> int:
    time = datetime.time.fromisoformat(text)
    return 60 * time.hour + time.minute


def _clock(minutes: int) -> str:
    return f"{minutes % _DAY // 60:02d}:{minutes % 60:02d}"


def _twelve(text: str) -> str:
    hour, minute = divmod(_minutes(text), 60)
    return f"{(hour + 11) % 12 + 1}:{minute:02d} {'AM' if hour < 12 else 'PM'}"


def minutes_between(start: Clock, end: Clock) -> Whole:
    """Count the minutes from one time of day to another."""
    return (_minutes(end) - _minutes(start)) % _DAY


def add_minutes(time: Clock, minutes: Whole) -> Clock:
    """The time of day a number of minutes later."""
    return _clock(_minutes(time) + minutes)


def subtract_minutes(time: Clock, minutes: Whole) -> Clock:
    """The time of day a number of minutes earlier."""
    return _clock(_minutes(time) - minutes)


def shift_time_zone(time: Clock, hours: int) -> Clock:
    """Move a time of day into another time zone by its hour offset."""
    within(hours, -14, 14, "hours")
    return _clock(_minutes(time) + 60 * hours)


def to_twelve_hour_clock(time: Clock) -> Code:
    """Write a 24-hour time on the 12-hour clock with AM or PM."""
    return _twelve(time)


def to_military_time(time: str) -> Clock:
    """Write an AM or PM time on the 24-hour clock."""
    return datetime.datetime.strptime(time, "%I:%M %p").strftime("%H:%M")


def minutes_since_midnight(time: Clock) -> Whole:
    """Count the minutes that have passed since midnight at a time."""
    return _minutes(time)


def minutes_until_midnight(time: Clock) -> Whole:
    """Count the minutes left until the day ends at midnight."""
    return _DAY - _minutes(time)


def decimal_hours(time: Clock) -> Real:
    """Write hours and minutes as a decimal number of hours."""
    return _minutes(time) / 60


def decimal_hours_to_clock(hours: Real) -> Clock:
    """Write a decimal number of hours as hours and minutes."""
    within(hours, 0, 23.99, "hours")
    return _clock(round(hours * 60))


def split_seconds(seconds: Whole) -> Code:
    """Break a number of seconds into hours, minutes and seconds."""
    return str(datetime.timedelta(seconds=seconds))


def duration_in_seconds(hours: Whole, minutes: Whole) -> Whole:
    """Convert a duration of hours and minutes into seconds."""
    return 3600 * hours + 60 * minutes


def clock_hand_angle(time: Clock) -> Real:
    """The angle between the hour and minute hands of a clock."""
    angle = abs(30 * (_minutes(time) / 60 % 12) - 6 * (_minutes(time) % 60))
    return min(angle, 360 - angle)


def round_to_quarter_hour(time: Clock) -> Clock:
    """Round a time of day to the nearest quarter of an hour."""
    return _clock((_minutes(time) + 7) // 15 * 15)


def share_of_day(time: Clock) -> Real:
    """The percentage of the day that has passed at a time."""
    return 100 * _minutes(time) / _DAY


def timestamp_to_date(seconds: Whole) -> Day:
    """The date of a Unix timestamp in seconds."""
    within(seconds, 0, 4 * 10**9, "seconds")
    return (datetime.date(1970, 1, 1) + datetime.timedelta(seconds=seconds)).isoformat()


def date_to_timestamp(day: Day) -> Whole:
    """The Unix timestamp of a date at midnight."""
    return (datetime.date.fromisoformat(day) - datetime.date(1970, 1, 1)).days * 86_400


def midpoint_of_times(start: Clock, end: Clock) -> Clock:
    """The time of day halfway between two times."""
    return _clock((_minutes(start) + _minutes(end)) // 2)


TOOLS = (
    WorldTool(
        function=minutes_between,
        draw={"start": clock(), "end": clock()},
        needs=(
            "the [number of minutes between] {start} and {end}",
            "how [many minutes pass] from {start} to {end}",
            "the [difference in minutes] from {start} to {end}",
        ),
        unseen=(
            "the [minutes elapsed] from {start} until {end}",
            "how [long in minutes] it is from {start} until {end}",
        ),
    ),
    WorldTool(
        function=add_minutes,
        draw={"time": clock(), "minutes": whole(5, 300)},
        needs=(
            "the [time some minutes later] than {time}, adding {minutes}",
            "[add minutes to a time]: {time} plus {minutes}",
            "when it [will be so many minutes later], {minutes} after {time}",
        ),
        unseen=(
            "move {time} [forward by minutes], {minutes} in all",
            "the [clock reading after minutes have passed], {minutes} past {time}",
        ),
    ),
    WorldTool(
        function=subtract_minutes,
        draw={"time": clock(), "minutes": whole(5, 300)},
        needs=(
            "the [time some minutes earlier] than {time}, taking off {minutes}",
            "[subtract minutes from a time]: {time} minus {minutes}",
            "when it [was so many minutes earlier], {minutes} before {time}",
        ),
        unseen=(
            "move {time} [back by minutes], {minutes} in all",
            "the [clock reading minutes ago], {minutes} ahead of {time}",
        ),
    ),
    WorldTool(
        function=shift_time_zone,
        draw={"time": clock(), "hours": choice(-11, -9, -8, -6, -5, -3, 2, 3, 4, 7, 8, 9, 10)},
        needs=(
            "the [time in another time zone] for {time} with offset {hours}",
            "[shift the time zone] of {time} by {hours}",
            "the [local time with an hour offset] of {hours} when it is {time}",
        ),
        unseen=(
            "the [clock abroad in a different zone], {hours} from here, at {time}",
            "convert {time} [to a zone with another hour offset], {hours}",
        ),
    ),
    WorldTool(
        function=to_twelve_hour_clock,
        draw={"time": clock()},
        needs=(
            "the [12-hour clock form] of {time}",
            "write {time} [with AM or PM]",
            "the [AM or PM notation] of {time}",
        ),
        unseen=(
            "the [twelve-hour time] for {time}",
            "say {time} [in the morning-or-afternoon, a.m./p.m. style]",
        ),
    ),
    WorldTool(
        function=to_military_time,
        draw={"time": encoded(_twelve, clock())},
        needs=(
            "the [24-hour clock form] of {time}",
            "write {time} [without AM or PM]",
            "the [military time] for {time}",
        ),
        unseen=(
            "the [twenty-four-hour time] for {time}",
            "convert {time} [from a.m./p.m. to the 24-hour format]",
        ),
    ),
    WorldTool(
        function=minutes_since_midnight,
        draw={"time": clock()},
        needs=(
            "the [minutes since midnight] at {time}",
            "how [many minutes of the day have passed] at {time}",
            "the [minutes passed since midnight] for {time}",
        ),
        unseen=(
            "the [minutes elapsed since the day began] by {time}",
            "how [many minutes after midnight] {time} is",
        ),
    ),
    WorldTool(
        function=minutes_until_midnight,
        draw={"time": clock()},
        needs=(
            "the [minutes until midnight] from {time}",
            "how [many minutes are left in the day] at {time}",
            "the [minutes remaining today] after {time}",
        ),
        unseen=(
            "how [many minutes before the day is over] there are at {time}",
            "the [countdown to midnight in minutes] from {time}",
        ),
    ),
    WorldTool(
        function=decimal_hours,
        draw={"time": clock()},
        needs=(
            "the [decimal hours] for {time}",
            "write {time} [as a decimal number of hours]",
            "the [hours with a decimal point] equal to {time}",
        ),
        unseen=(
            "the [time sheet hours as a decimal] for {time}",
            "turn {time} [into hours with a fraction]",
        ),
    ),
    WorldTool(
        function=decimal_hours_to_clock,
        draw={"hours": real(0, 23.9, digits=2)},
        needs=(
            "the [hours and minutes] in {hours} decimal hours",
            "write {hours} [decimal hours as hours and minutes]",
            "the [clock form of decimal hours] for {hours}",
        ),
        unseen=(
            "turn {hours} [from decimal hours into a time with minutes]",
            "the [hour-and-minute form] of {hours} h",
        ),
    ),
    WorldTool(
        function=split_seconds,
        draw={"seconds": whole(100, 80000)},
        needs=(
            "the [hours, minutes and seconds] in {seconds} seconds",
            "break {seconds} [seconds into hours and minutes]",
            "the [seconds split into hours, minutes, seconds] for {seconds}",
        ),
        unseen=(
            "the [hours, minutes and seconds contained in seconds], {seconds} seconds in all",
            "turn {seconds} [seconds into a readable duration]",
        ),
    ),
    WorldTool(
        function=duration_in_seconds,
        draw={"hours": whole(1, 30), "minutes": whole(1, 59)},
        needs=(
            "the [duration in seconds] of {hours} hours and {minutes} minutes",
            "how [many seconds a duration has], {hours} hours and {minutes} minutes",
            "convert {hours} hours {minutes} minutes [into seconds]",
        ),
        unseen=(
            "the [length of time in seconds] for {hours} h {minutes} min",
            "the [total seconds] in {hours} hours plus {minutes} minutes",
        ),
    ),
    WorldTool(
        function=clock_hand_angle,
        draw={"time": clock()},
        needs=(
            "the [angle between the clock hands] at {time}",
            "how [many degrees separate hour hand and minute hand] at {time}",
            "the [clock hand angle] for {time}",
        ),
        unseen=(
            "the [angle the hands of a watch form] at {time}",
            "how [wide apart the two clock hands are] at {time}",
        ),
    ),
    WorldTool(
        function=round_to_quarter_hour,
        draw={"time": clock()},
        needs=(
            "the [nearest quarter hour] to {time}",
            "[round a time to fifteen minutes]: {time}",
            "the [rounding to a quarter of an hour] of {time}",
        ),
        unseen=(
            "the [closest quarter past, half or quarter to] for {time}",
            "the [time rounded to fifteen-minute quarters] for {time}",
        ),
    ),
    WorldTool(
        function=share_of_day,
        draw={"time": clock()},
        needs=(
            "the [percentage of the day passed] at {time}",
            "how [much of the day is over, in percent,] at {time}",
            "the [share of the day gone] by {time}",
        ),
        unseen=(
            "what [part of the day has elapsed in per cent] at {time}",
            "the [day's progress in percent] at {time}",
        ),
    ),
    WorldTool(
        function=timestamp_to_date,
        draw={"seconds": whole(10**8, 2 * 10**9)},
        needs=(
            "the [date of the Unix timestamp] {seconds}",
            "convert {seconds} [from Unix time to a date]",
            "the [calendar date for epoch seconds] of {seconds}",
        ),
        unseen=(
            "which [date a POSIX timestamp stands for], given {seconds}",
            "the [date hidden in a Unix timestamp], {seconds}",
        ),
    ),
    WorldTool(
        function=date_to_timestamp,
        draw={"day": day(1975, 2035)},
        needs=(
            "the [Unix timestamp] of {day}",
            "convert {day} [to Unix time]",
            "the [epoch seconds at midnight] of {day}",
        ),
        unseen=(
            "the [POSIX timestamp for a date] of {day}",
            "how [many Unix timestamp seconds a date has], for {day}",
        ),
    ),
    WorldTool(
        function=midpoint_of_times,
        draw={"start": clock(step_minutes=5), "end": clock(step_minutes=5)},
        needs=(
            "the [time halfway between] {start} and {end}",
            "the [midpoint of two times], {start} and {end}",
            "when it is [exactly between two times], {start} and {end}",
        ),
        unseen=(
            "the [middle time of day] from {start} to {end}",
            "which [clock time lies midway] from {start} to {end}",
        ),
    ),
)
