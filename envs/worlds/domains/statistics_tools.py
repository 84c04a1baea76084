"""Averages, spreads and relations of lists of numbers."""

import math
import statistics
from collections import Counter

from envs.worlds.authoring import WorldTool, filled, within
from envs.worlds.draws import ints, repeating_ints, whole
from envs.worlds.kinds import Real, Reals

_SAMPLE = ints(1, 99, least=4, most=5)


def mean(values: Reals) -> Real:
    """The arithmetic mean of a list of numbers."""
    return statistics.fmean(values)


def median(values: Reals) -> Real:
    """The middle value of a list of numbers once sorted."""
    return statistics.median(values)


def mode(values: Reals) -> Real:
    """The most frequent value in a list of numbers."""
    filled(values)
    return Counter(values).most_common(1)[0][0]


def geometric_mean(values: Reals) -> Real:
    """The geometric mean: the n-th root of the product of positive numbers."""
    return statistics.geometric_mean(values)


def harmonic_mean(values: Reals) -> Real:
    """The harmonic mean: the reciprocal of the mean of reciprocals."""
    return statistics.harmonic_mean(values)


def root_mean_square(values: Reals) -> Real:
    """The quadratic mean: the root of the mean of squares."""
    filled(values)
    return math.sqrt(sum(v * v for v in values) / len(values))


def midrange(values: Reals) -> Real:
    """The midpoint halfway between the smallest and largest value."""
    filled(values)
    return (min(values) + max(values)) / 2


def value_range(values: Reals) -> Real:
    """The range of the data: largest value minus smallest."""
    filled(values)
    return max(values) - min(values)


def population_variance(values: Reals) -> Real:
    """The variance of a whole population, dividing by n."""
    return statistics.pvariance(values)


def sample_variance(values: Reals) -> Real:
    """The variance estimated from a sample, dividing by n minus one."""
    return statistics.variance(values)


def population_deviation(values: Reals) -> Real:
    """The standard deviation of a whole population, dividing by n."""
    return statistics.pstdev(values)


def sample_deviation(values: Reals) -> Real:
    """The standard deviation estimated from a sample, dividing by n minus one."""
    return statistics.stdev(values)


def mean_absolute_deviation(values: Reals) -> Real:
    """The mean distance of the values from their mean."""
    centre = statistics.fmean(values)
    return statistics.fmean(abs(v - centre) for v in values)


def median_absolute_deviation(values: Reals) -> Real:
    """The median distance of the values from their median."""
    centre = statistics.median(values)
    return statistics.median(abs(v - centre) for v in values)


def lower_quartile(values: Reals) -> Real:
    """The first quartile, below which a quarter of the data lies."""
    return statistics.quantiles(values, n=4, method="inclusive")[0]


def upper_quartile(values: Reals) -> Real:
    """The third quartile, above which a quarter of the data lies."""
    *_, third = statistics.quantiles(values, n=4, method="inclusive")
    return third


def interquartile_range(values: Reals) -> Real:
    """The spread of the middle half: third quartile minus first."""
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return third - first


def standard_score(value: Real, values: Reals) -> Real:
    """The z-score of a value: standard deviations away from a list's mean."""
    return (value - statistics.fmean(values)) / statistics.pstdev(values)


def percentile_rank(value: Real, values: Reals) -> Real:
    """The percentage of a list that lies below a value."""
    filled(values)
    return 100 * sum(v < value for v in values) / len(values)


def correlation(xs: Reals, ys: Reals) -> Real:
    """The Pearson correlation of two equally long lists of numbers."""
    return statistics.correlation(xs, ys)


def regression_slope(xs: Reals, ys: Reals) -> Real:
    """The slope of the least-squares line through paired values."""
    return statistics.linear_regression(xs, ys).slope


def weighted_mean(values: Reals, weights: Reals) -> Real:
    """The mean of a list with a weight for each value."""
    if len(values) != len(weights) or min(weights, default=0) < 0:
        raise ValueError("give one non-negative weight for each value")
    return sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights)


def moving_average(values: Reals, width: int) -> Reals:
    """The averages of every window of neighbouring values in a list."""
    within(width, 1, len(values), "width")
    return [statistics.fmean(values[i : i + width]) for i in range(len(values) - width + 1)]


TOOLS = (
    WorldTool(
        function=mean,
        draw={"values": ints(1, 99)},
        needs=(
            "the [arithmetic mean] of {values}",
            "the [plain average] of {values}",
            "the [mean of the numbers] {values}",
        ),
        unseen=(
            "the [ordinary average value] of {values}",
            "the [arithmetic average] across {values}",
        ),
    ),
    WorldTool(
        function=median,
        draw={"values": ints(1, 99)},
        needs=(
            "the [median] of {values}",
            "the [middle value when sorted] of {values}",
            "which [value sits in the middle] of {values}",
        ),
        unseen=(
            "the [central value of the sorted list] {values}",
            "the [median number] among {values}",
        ),
    ),
    WorldTool(
        function=mode,
        draw={"values": repeating_ints(1, 30)},
        needs=(
            "the [mode] of {values}",
            "the [most frequent value] in {values}",
            "which [number occurs most often] in {values}",
        ),
        unseen=(
            "the [most common number] in {values}",
            "the [value that repeats most] within {values}",
        ),
    ),
    WorldTool(
        function=geometric_mean,
        draw={"values": ints(1, 60, least=2, most=4)},
        needs=(
            "the [geometric mean] of {values}",
            "the [n-th root of the product] of {values}",
            "the [geometric average] of {values}",
        ),
        unseen=(
            "the [multiplicative average] of {values}",
            "the [root of the product as an average] for {values}",
        ),
    ),
    WorldTool(
        function=harmonic_mean,
        draw={"values": ints(1, 60, least=2, most=4)},
        needs=(
            "the [harmonic mean] of {values}",
            "the [reciprocal of the average reciprocal] of {values}",
            "the [harmonic average] of {values}",
        ),
        unseen=(
            "the [average of rates, harmonic], for {values}",
            "the [mean taken through reciprocals] of {values}",
        ),
    ),
    WorldTool(
        function=root_mean_square,
        draw={"values": ints(1, 60, least=2, most=4)},
        needs=(
            "the [root mean square] of {values}",
            "the [quadratic mean] of {values}",
            "the [square root of the mean of squares] of {values}",
        ),
        unseen=(
            "the [RMS value] of {values}",
            "the [root of the averaged squares] for {values}",
        ),
    ),
    WorldTool(
        function=midrange,
        draw={"values": ints(1, 99)},
        needs=(
            "the [midrange] of {values}",
            "the [midpoint between smallest and largest value] of {values}",
            "the [halfway point of the extremes] of {values}",
        ),
        unseen=(
            "the [average of the minimum and maximum] in {values}",
            "the [point halfway between lowest and highest value] in {values}",
        ),
    ),
    WorldTool(
        function=value_range,
        draw={"values": ints(1, 99)},
        needs=(
            "the [range of the data] {values}",
            "the [largest minus smallest value] of {values}",
            "the [difference between highest and lowest value] in {values}",
        ),
        unseen=(
            "the [maximum minus the minimum] of {values}",
            "the [full range from bottom to top of the data] {values}",
        ),
    ),
    WorldTool(
        function=population_variance,
        draw={"values": _SAMPLE},
        needs=(
            "the [population variance] of {values}",
            "the [variance of the whole population] {values}",
            "the [variance dividing by n] of {values}",
        ),
        unseen=(
            "the [variance of a complete population] {values}",
            "the [mean squared deviation, population variance], for {values}",
        ),
    ),
    WorldTool(
        function=sample_variance,
        draw={"values": _SAMPLE},
        needs=(
            "the [sample variance] of {values}",
            "the [variance estimated from a sample] {values}",
            "the [variance dividing by n minus one] of {values}",
        ),
        unseen=(
            "the [unbiased variance estimate] from the observations {values}",
            "the [variance of a random sample] {values}",
        ),
    ),
    WorldTool(
        function=population_deviation,
        draw={"values": _SAMPLE},
        needs=(
            "the [population standard deviation] of {values}",
            "the [standard deviation of the whole population] {values}",
            "the [standard deviation dividing by n] of {values}",
        ),
        unseen=(
            "the [standard deviation of a complete population] {values}",
            "the [population sigma, standard deviation], for {values}",
        ),
    ),
    WorldTool(
        function=sample_deviation,
        draw={"values": _SAMPLE},
        needs=(
            "the [sample standard deviation] of {values}",
            "the [standard deviation estimated from a sample] {values}",
            "the [standard deviation dividing by n minus one] of {values}",
        ),
        unseen=(
            "the [unbiased standard deviation estimate] from the observations {values}",
            "the [standard deviation of a random sample] {values}",
        ),
    ),
    WorldTool(
        function=mean_absolute_deviation,
        draw={"values": _SAMPLE},
        needs=(
            "the [mean absolute deviation] of {values}",
            "the [average distance from the mean] in {values}",
            "the [mean distance to the mean] of {values}",
        ),
        unseen=(
            "how far, on average, {values} lie from their mean, the [average absolute deviation]",
            "the [averaged absolute gap to the mean] for {values}",
        ),
    ),
    WorldTool(
        function=median_absolute_deviation,
        draw={"values": _SAMPLE},
        needs=(
            "the [median absolute deviation] of {values}",
            "the [median distance from the median] in {values}",
            "the [middle distance to the median] of {values}",
        ),
        unseen=(
            "the [median of the absolute gaps to the median] for {values}",
            "the [typical deviation from the median] within {values}",
        ),
    ),
    WorldTool(
        function=lower_quartile,
        draw={"values": ints(1, 99, least=4, most=5)},
        needs=(
            "the [lower quartile] of {values}",
            "the [first quartile] of {values}",
            "the [value below which a quarter of the data lies] in {values}",
        ),
        unseen=(
            "the [25th percentile, first quartile], of {values}",
            "the [bottom quartile] of {values}",
        ),
    ),
    WorldTool(
        function=upper_quartile,
        draw={"values": ints(1, 99, least=4, most=5)},
        needs=(
            "the [upper quartile] of {values}",
            "the [third quartile] of {values}",
            "the [value above which a quarter of the data lies] in {values}",
        ),
        unseen=(
            "the [75th percentile, third quartile], of {values}",
            "the [top quartile] of {values}",
        ),
    ),
    WorldTool(
        function=interquartile_range,
        draw={"values": ints(1, 99, least=4, most=5)},
        needs=(
            "the [interquartile range] of {values}",
            "the [spread of the middle half] of {values}",
            "the [difference between the quartiles] of {values}",
        ),
        unseen=(
            "the [distance from first to third quartile] in {values}",
            "the [spread between the quartiles] of {values}",
        ),
    ),
    WorldTool(
        function=standard_score,
        draw={"value": whole(1, 99), "values": ints(1, 99, least=3, most=4)},
        needs=(
            "the [z-score] of {value} within {values}",
            "the [standard score] of {value} against {values}",
            "how many [standard deviations from the mean] {value} is among {values}",
        ),
        unseen=(
            "the [standardised value] of {value} relative to {values}",
            "how many [deviations away from the mean] {value} lies given {values}",
        ),
    ),
    WorldTool(
        function=percentile_rank,
        draw={"value": whole(20, 99), "values": ints(1, 99, least=4, most=5)},
        needs=(
            "the [percentile rank] of {value} within {values}",
            "what [percentage of the values lies below] {value} in {values}",
            "the [percent of the list that is smaller] than {value} in {values}",
        ),
        unseen=(
            "the [percentile position] of {value} among {values}",
            "what [percentage of data is lower than a value], {value} against {values}",
        ),
    ),
    WorldTool(
        function=correlation,
        draw={"xs": ints(1, 30, least=3, most=3), "ys": ints(1, 30, least=3, most=3)},
        needs=(
            "the [correlation] between {xs} and {ys}",
            "the [Pearson coefficient] of {xs} and {ys}",
            "how strongly [two lists correlate], namely {xs} and {ys}",
        ),
        unseen=(
            "the [linear correlation coefficient] for {xs} against {ys}",
            "the [strength of the linear relation] of {xs} with {ys}",
        ),
    ),
    WorldTool(
        function=regression_slope,
        draw={"xs": ints(1, 30, least=3, most=3), "ys": ints(1, 30, least=3, most=3)},
        needs=(
            "the [slope of the regression line] for {xs} against {ys}",
            "the [least-squares slope] through x {xs} and y {ys}",
            "the [gradient of the fitted line] for {xs} and {ys}",
        ),
        unseen=(
            "the [steepness of the best-fitting line] for x values {xs} and y values {ys}",
            "the [linear regression coefficient] from {xs} to {ys}",
        ),
    ),
    WorldTool(
        function=weighted_mean,
        draw={"values": ints(1, 60, least=3, most=3), "weights": ints(1, 9, least=3, most=3)},
        needs=(
            "the [weighted mean] of {values} with weights {weights}",
            "the [average with weights] of {values} under {weights}",
            "the [weighted average] of {values} using {weights}",
        ),
        unseen=(
            "the [mean where each value has a weight], values {values} and weights {weights}",
            "the [average by importance weights] of {values} given {weights}",
        ),
    ),
    WorldTool(
        function=moving_average,
        draw={"values": ints(1, 60, least=4, most=5), "width": whole(2, 3)},
        needs=(
            "the [moving average] of {values} with width {width}",
            "the [sliding window mean] of {values} over {width} values",
            "the [rolling average] of {values} in windows of {width}",
        ),
        unseen=(
            "smooth {values} by [averages over a window] of size {width}",
            "the [running mean of neighbouring values] in {values}, {width} at a time",
        ),
    ),
)
