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
    % V MB Mbit/s °C kg km/h m cm h g hp mpg ft lb oz min bytes cents columns blocks rows layers groups heads tosses throws
    flips dice cubes pairs people guests friends men runners winners things kinds flavours members squares terms sides edges
    corners degrees radians days weeks months hours minutes seconds years feet inches pounds ounces kilos grams miles metres
    kilometres megabytes megabits micromoles ohms volts percent periods credits dots dpi times
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
        "While planning the budget for a birthday in June,",
        "The server logs mention hashing, but that can wait.",
        "Before the train leaves at noon,",
        "My sister is painting the fence green.",
        "For the quiz on ancient Rome,",
        "Our router was replaced last Tuesday.",
        "While the cake is in the oven,",
        "The accountant asked about the interest rate, which is not your concern.",
        "After reading a novel about secret codes,",
        "It was freezing on the mountain this morning.",
        "During the statistics lecture,",
        "The carpenter measured the diagonal of the table twice.",
        "As the calendar on the wall is still showing March,",
        "There is a poster of the colour wheel in my office.",
        "For a crossword that my uncle is solving,",
        "The password of the wireless network has changed.",
        "Since the weather forecast promises wind,",
        "Our bakery sells three quarters of its bread before nine.",
        "While I wait for the download,",
        "The teacher likes palindromes and prime numbers.",
        "In the break between two geometry lessons,",
        "My grandfather collects old coins and stamps.",
        "Because the invoice is due on Friday,",
        "The clock in the kitchen is ten minutes slow.",
        "For a booklet about the solar system,",
        "Somebody spilled coffee over the list of guests.",
        "While my colleague sorts the address book,",
        "The bank is closed on the last working day of the year.",
        "On the way to the airport,",
        "A runner passed me at an impressive pace.",
        "When the library opens,",
        "The old map gives every distance in miles.",
        "For the second chapter of my thesis,",
        "Two dice are lying under the sofa.",
        "As the meeting about sales tax drags on,",
        "My phone shows the temperature in Fahrenheit.",
        "To settle a bet about leap years,",
        "The printer is out of cyan ink again.",
        "With the holidays still two weeks away,",
        "The football team has eleven players and one spare shirt.",
        "While the choir rehearses in the next room,",
        "A large file is being compressed in the background.",
        "For the newsletter of our chess club,",
        "The recipe asks for half a litre of milk.",
        "Between two phone calls with the insurance company,",
        "Our garden has the shape of a triangle.",
        "As soon as the database is back,",
        "The lottery numbers were announced at midnight.",
        "For an exhibition of modern art,",
        "My neighbour learns Morse code at the age of eighty.",
        "While the soup is cooling to forty degrees,",
        "The firewall blocks everything outside our subnet.",
        "With a deadline next Monday,",
        "The word of the day is 'syllable'.",
        "In preparation for the spelling contest,",
        "Half of the class was absent yesterday.",
        "To amuse the children on the plane,",
        "The loan for the house runs for twenty years.",
        "While the museum is still quiet,",
        "Rain is expected for the whole weekend.",
        "For the label on a jar of honey,",
        "The average visitor stays for an hour.",
        "As part of a puzzle about handshakes,",
        "The bus has been late on three days out of five.",
        "Although binary numbers bore me,",
        "The painter mixed blue and yellow all morning.",
        "Because the shop gives a discount today,",
        "The seats in the theatre are numbered from left to right.",
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
        "Having just returned from the dentist,",
        "The elevator carries at most eight persons.",
        "With an eye on the exchange rate,",
        "Our cat was born in the year of the dragon.",
        "Even though the gallery prefers pastel shades,",
        "The radio station plays songs from the eighties.",
        "Now that the exam on fractions is over,",
        "A parcel with an unreadable barcode arrived.",
        "Right after the fire drill,",
        "The ferry crosses the lake in fifty minutes.",
        "Since nobody remembers the door code,",
        "The orchard yields about ninety kilograms of pears.",
        "Ahead of the board meeting,",
        "The backup of the mail server finished at dawn.",
        "Thanks to a tip from the waiter,",
        "Somewhere a triangle and a cymbal are being played.",
        "Despite the noise from the building site,",
        "My cousin writes riddles for a magazine.",
        "Given that the marathon starts soon,",
        "The thermometer on the balcony is broken.",
        "By the light of a single lamp,",
        "The tax office moved to another street.",
        "Until the plumber rings,",
        "Seven ducks are swimming across the pond.",
        "Apart from a question on seating plans,",
        "The subtitle of the film is in capital letters.",
        "Out of pure curiosity,",
        "The landlord sent a letter about the deposit.",
        "With the stopwatch still running,",
        "Every drawer in the lab carries a label in hexadecimal.",
        "Next to a stack of unpaid bills,",
        "The astronomer talks about the equinox.",
        "Long before the concert begins,",
        "The new tiles are regular hexagons.",
        "Judging by the queue at the counter,",
        "The alphabet song is stuck in my head.",
        "Halfway through the jigsaw,",
        "Their wedding is on the first Saturday of May.",
        "In spite of a slow internet connection,",
        "The juggler never drops more than one ball.",
    ),
)
