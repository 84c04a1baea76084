"""How needs become instructions: frames around them, words for a result, and clauses that have nothing to do with it.

Two wordings exist: one for training and one that training never shows. A clause is written so that it holds words of
other domains: the whole instruction is then a poor search query, and the need alone is a good one.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from envs.worlds.authoring import NeedKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """Everything that an instruction is worded with, besides the needs themselves."""

    verbs: Mapping[NeedKind, tuple[str, ...]]  # what turns a need into an order: "find" + "the mean of …"
    single: Mapping[NeedKind, tuple[str, ...]]  # frames around {need}
    single_orders: tuple[str, ...]  # frames around {do}, an order of any kind
    chained: tuple[str, ...]  # frames around {first} and {then}, two orders
    chained_nouns: tuple[str, ...]  # frames around {noun} and {then}, where the first need is a noun
    references: tuple[str, ...]  # how the second need speaks of the first result, in its words for {kind}
    appositions: tuple[str, ...]  # the same right behind a noun: "the list just found"
    counted: tuple[str, ...]  # the same before a unit or a counted noun: "that many metres"
    clauses: tuple[str, ...]  # ending in a comma they open the sentence, ending in a stop they stand alone


COUNTED_NOUNS = frozenset(
    """
    % V MB Mbit/s °C kg km/h m cm h g hp mpg ft lb oz min bytes cents columns blocks rows layers groups heads
    tosses throws flips dice cubes pairs people guests friends men runners winners things kinds flavours
    members squares terms sides edges corners degrees radians days weeks months hours minutes seconds years
    feet inches pounds ounces kilos grams miles metres kilometres megabytes megabits micromoles ohms volts
    percent periods credits dots dpi times
    """.split()
)  # a number before one of them is spoken of as "that many"

TRAIN_WORDING = Wording(
    verbs={
        NeedKind.NOUN: ("find", "work out", "get", "tell me", "give me"),
        NeedKind.CLAUSE: ("find out", "tell me", "work out"),
        NeedKind.ORDER: ("",),
    },
    single={
        NeedKind.NOUN: (
            "What is {need}?",
            "I need {need}.",
            "Please give me {need}.",
            "I am looking for {need}.",
            "Could you find {need}?",
        ),
        NeedKind.CLAUSE: (
            "I would like to know {need}.",
            "Can you tell me {need}?",
            "Please find out {need}.",
            "I wonder {need}.",
        ),
        NeedKind.ORDER: (
            "I want you to {need}.",
            "Can you {need} for me?",
            "Help me {need}.",
        ),
    },
    single_orders=("{do}.", "Please {do}.", "Now {do}.", "Your task: {do}."),
    chained=(
        "{first}, then {then}.",
        "First {first}. After that, {then}.",
        "Please {first}, and then {then}.",
        "In two steps: {first}, and next {then}.",
        "{first}; afterwards {then}.",
        "I want you to {first} and then to {then}.",
    ),
    chained_nouns=(
        "Take {noun} and {then}.",
        "Once you have {noun}, {then}.",
        "Starting from {noun}, {then}.",
    ),
    references=("the result", "that {kind}"),
    appositions=("just found", "from the first step"),
    counted=("that many",),
    clauses=(
        "While the budget lists the price after a discount, the original price and the gross price with tax,",
        "The server logs show the first eight hex digits of an MD5 or SHA-1 digest of a text.",
        "Before I convert the height in feet, the weight in kilograms and the distance in miles,",
        "My sister mixes two colours, darkens one colour and looks for the nearest colour name.",
        "For a quiz on the leap year, the century of a year and the date of Easter,",
        "Our router has a network address, a broadcast address, a subnet mask and a last usable host address.",
        "While the class divides two whole numbers and rounds the quotient down, or rounds the quotient up,",
        "The accountant explains simple interest, compound interest and the monthly payment of a loan.",
        "After reading how to encode a text in Base64, encode a text in Base32 and decode a Base64 string to a text,",
        "We converted the temperature from Fahrenheit to Celsius, from Celsius to Kelvin and from Kelvin to Celsius.",
        "During a lecture on the variance and standard deviation of a sample or a whole population,",
        "The carpenter knows the area of a circle, the area of an ellipse, of a ring and of a triangle.",
        "As we count the calendar days, working days and full months from one date to another,",
        "There is a poster about the complementary colour, the hue angle of a colour and its saturation.",
        "For a crossword with the vowels in a word, the consonants in a word and the different letters of a word,",
        "The password is a text in capital letters, a text without spaces and a text whose words are in reverse order.",
        "Since the subnets of a network, the parent network and the network that contains an address have changed,",
        "Our bakery adds two fractions, multiplies fractions and reduces each fraction to lowest terms.",
        "While the volume of a cylinder, the volume of a cone and the volume of a pyramid are on the blackboard,",
        "The teacher likes prime factors, the next prime number, divisors and the decimal digits of a number.",
        "In the break between the area of a circle, the circumference of a circle and the volume of a cone,",
        "My grandfather compares the balance with compound interest, simple interest and compound interest alone.",
        "Because the monthly payment of a loan and the interest on an amount at a yearly rate are due on Friday,",
        "The clock shows the time of day a number of minutes later in another time zone.",
        "For a booklet on the n-th Fibonacci number, the Lucas number and the triangular number,",
        "Somebody sorted a list of words from A to Z and dropped repeated words from the list.",
        "While my colleague finds the SHA-256 digest of a text and the SHA-512 digest of a text in hex digits,",
        "The bank knows the last date of the month, the quarter of the year and the ISO week number.",
        "On the way to a talk about shifting the bits of a number, its one-bits and its binary digits in reverse,",
        "A runner knows the first host address, the last host address and the subnet mask of a network.",
        "When the lesson on the longest word, the shortest word and the plural of a noun is over,",
        "The old map shows the straight-line distance between two points, the slope and the midpoint.",
        "For my thesis on the n-th Catalan number, the n-th tribonacci number and the n-th pentagonal number,",
        "Several numbers of the first set are in the second set, in both sets, or in exactly one of two sets.",
        "As the meeting about the price with sales tax, the price without tax and the price with a discount drags on,",
        "My phone shows the weekday on which a date falls and the days remaining in the year.",
        "To settle a bet about the final date of a month, the days in a month and the decade of a year,",
        "The printer lists the red, green and blue values and the ink percentages of a colour.",
        "With the date a number of days, weeks or months after a given date in mind,",
        "The football team knows the largest number of a list, the smallest and the second-largest.",
        "While the choir counts the words in a text, the characters in a text and the vowels in a word,",
        "A large file gets the CRC-32 checksum of a text, the Adler-32 checksum and a byte sum modulo 256.",
        "For a newsletter on the greatest common divisor, the least common multiple and coprime numbers,",
        "The recipe takes a fraction of a whole number and writes a fraction as a decimal number.",
        "Between two calls about the reverse DNS name, the class and the binary form of an IP address,",
        "Our garden has the area of a triangle from its base and height, or from its three sides.",
        "As soon as the union, the intersection and the difference of two sets are explained,",
        "The lottery counts the numbers of a list that occur exactly once, more than once, or above a limit.",
        "For an exhibition on the negative of a colour, a greyscale colour and a lighter colour,",
        "My neighbour shifts the letters of a text, mirrors the alphabet in a text and deletes all vowels from a text.",
        "While we count the minutes from one time of day to another and those until midnight,",
        "The firewall checks whether an address is private and whether an address belongs to a network.",
        "With two lists to join end to end, to interleave or to add item by item,",
        "The word of the day reads the same backwards and uses the same letters as another word.",
        "In preparation for a test on the logarithm to base two, the square root and the cube root of a number,",
        "The class rounds a decimal number up to a whole number, rounds it down, or to the nearest whole number.",
        "To amuse the children with the letters of a text in reverse order and shifted along the alphabet,",
        "The yearly growth rate, the net present value and the return on an investment are still unclear.",
        "While the museum writes a number in binary, in octal, in hexadecimal and as a Roman numeral,",
        "Rain will fall on the first such weekday in a month, or on the Monday of the week.",
        "For a label with the difference, the sum and the product of two fractions in lowest terms,",
        "The average visitor asks for the mean, the median, the mode and the geometric mean of a list.",
        "As part of a puzzle on the interior angle, the diagonals and the area of a regular polygon,",
        "The bus timetable has the minutes since midnight, the minutes until midnight and the time of day.",
        "Although the sample standard deviation and the population standard deviation, dividing by n, bore me,",
        "The painter mixes a colour with white, mixes a colour with black and rounds a colour to the web-safe colours.",
        "Because the price per kilogram, the price after a discount and the price without tax changed today,",
        "The seats are sorted like a list from smallest to largest, from largest to smallest, or in opposite order.",
    ),
)

UNSEEN_WORDING = Wording(
    verbs={
        NeedKind.NOUN: ("determine", "figure out", "obtain", "look up"),
        NeedKind.CLAUSE: ("figure out", "determine", "let me know"),
        NeedKind.ORDER: ("",),
    },
    single={
        NeedKind.NOUN: (
            "May I have {need}?",
            "Kindly determine {need}.",
            "What I lack is {need}.",
            "Would you obtain {need}?",
        ),
        NeedKind.CLAUSE: (
            "Do you know {need}?",
            "Let me know {need}.",
            "It would help to learn {need}.",
        ),
        NeedKind.ORDER: (
            "Would you mind trying to {need}?",
            "You are asked to {need}.",
        ),
    },
    single_orders=("Kindly {do}.", "Here is the job: {do}.", "If you can, {do}."),
    chained=(
        "Begin like this: {first}. With that in hand, {then}.",
        "Kindly {first}, and finally {then}.",
        "Two things are wanted: {first}; second, {then}.",
        "After you {first}, go on and {then}.",
    ),
    chained_nouns=(
        "Using {noun}, {then}.",
        "Beginning with {noun}, {then}.",
    ),
    references=("the outcome", "the {kind} you obtain"),
    appositions=("you obtained", "that comes out"),
    counted=("just as many", "as many"),
    clauses=(
        "Having just returned from a course on the area and the circumference of a circle,",
        "The elevator carries persons whose weight in kilograms and height in centimetres are known.",
        "With an eye on the exchange rate, the interest rate and the price with tax,",
        "Our cat was born in the year of the dragon, on the last day of the month.",
        "Even though the gallery prefers a lighter colour, a mix of two colours and the opposite hue,",
        "The radio station plays a word in Morse code and spells it in the NATO alphabet.",
        "Now that the exam on the sum, the product and the quotient of two fractions is over,",
        "A parcel with a wrong barcode check digit and an unreadable ISBN arrived.",
        "Right after the fire drill, the minutes until midnight and the time of day,",
        "The ferry needs its speed in km/h, the wind force and the compass direction.",
        "Since nobody remembers the door code in hexadecimal, in octal or in binary,",
        "The orchard lists the mean, the median and the standard deviation of its pears.",
        "Ahead of the board meeting on profit, markup and the break-even point,",
        "The backup of the mail server left a CRC checksum and a SHA-512 digest.",
        "Thanks to a tip on the restaurant bill and the share of each person,",
        "Somewhere a triangle with three sides and a right angle is being drawn.",
        "Despite noise about working days, weekends and the number of weeks between two dates,",
        "My cousin writes riddles with anagrams, palindromes and reversed words.",
        "Given that the marathon starts soon with a running pace per kilometre,",
        "The thermometer converts Celsius to Kelvin and Fahrenheit to Celsius.",
        "By the light of a lamp, with the largest and the smallest number of a list in mind,",
        "The tax office moved to another network address behind a private IP address.",
        "Until the plumber rings about the volume of a cylinder and the surface of a box,",
        "Seven ducks can be arranged in permutations, combinations and groups.",
        "Apart from a question on the union and the intersection of two sets,",
        "The subtitle of the film is in capital letters, in title case and without vowels.",
        "Out of curiosity about prime numbers, divisors and the totient,",
        "The landlord wants the monthly payment of a loan and the compound interest on savings.",
        "With the stopwatch counting hours, minutes and seconds,",
        "Every drawer in the lab carries a Base64 string or a percent-encoded text.",
        "Next to a stack of bills with discounts and sales tax in percent,",
        "The astronomer talks about the Julian day number, leap years and the day of the year.",
        "Long before the concert, with its longest word and its number of syllables,",
        "The new tiles are regular polygons with interior angles and diagonals.",
        "Judging by the queue, the fewest coins and the ways to make change,",
        "The alphabet song gives the position of each letter and shifts letters along.",
        "Halfway through the jigsaw of binary digits, bit shifts and XOR,",
        "Their wedding is on the first Saturday of the month, a number of weeks later.",
        "In spite of slow sorting of a list in ascending and in descending order,",
        "The juggler keeps the first items of a list, drops duplicates and rotates the rest.",
    ),
)
