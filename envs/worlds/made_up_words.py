"""The words and sentence frames of made-up tools: general English, and no wording of the embedded world."""

VERBS: tuple[str, ...] = tuple(
    """
    count find get show return build make give list pick sort join split check test compare measure convert turn
    write read add remove replace reverse merge cut trim fill draw paint move shift rotate flip scale grow shrink
    round group filter map match search scan parse format print encode decode pack unpack wrap lift pull push open
    close lock start stop pause play record save load send receive copy paste store fetch clean wash mix cook bake
    serve plant water harvest drive ride walk run jump throw catch kick hold carry weigh compute calculate evaluate
    estimate solve prove reduce expand simplify shorten extend repeat generate produce derive extract select choose
    locate detect identify label name mark score rank order describe explain translate transform adjust apply assign
    arrange collect combine divide multiply subtract sum total average
    """.split()
)

NOUNS: tuple[str, ...] = tuple(
    """
    river mountain forest garden house window door table chair lamp bottle basket box bag book page letter word line
    paper pencil road bridge station train ship boat wheel engine market shop price coin bill ticket order list item
    part piece group pair set row column cell grid map path point edge side angle corner circle square shape curve
    number value digit figure amount size length width height depth weight volume area distance speed time hour
    minute second day week month year date season birthday age clock calendar color shade light sound voice song
    note tone signal code key lock name title label tag mark sign symbol vowel character sentence text message
    string phrase language animal bird fish horse dog cat cow sheep bee tree leaf flower root seed fruit apple bread
    cheese milk sugar salt soup cup plate spoon knife body hand foot head eye ear nose mouth heart bone king queen
    child teacher student doctor farmer sailor soldier painter worker driver friend neighbor stranger sun moon star
    sky cloud rain snow wind storm fire water stone sand metal gold iron glass wood cloth rope wire net tool machine
    computer screen file folder record report server address network host block mask port range city village country
    island desert valley lake ocean coast harbor castle tower temple school hospital museum theater kitchen office
    factory farm field yard roof wall floor room temperature pressure energy power force mass heat cost interest
    rate loan payment tax profit budget share bank account balance percent ratio fraction factor limit level degree
    unit measure scale sequence series pattern position index start end middle half quarter third rest remainder
    result answer sum product difference quotient average spread gap step turn loop round match score mile inch
    pound ounce gallon pint liter meter gram kilometer acre hash digest checksum base bit byte binary octal decimal
    hexadecimal prime divisor multiple integer triangle rectangle sphere cube cylinder cone radius diameter
    perimeter hypotenuse median mode mean variance deviation element member subset union permutation combination
    leap weekday weekend midnight noon
    """.split()
)

QUALITIES: tuple[str, ...] = tuple(
    """
    red blue green yellow black white gray brown pink purple bright dark light heavy soft hard smooth rough sharp
    flat round thin thick wide narrow tall short long deep high low big small tiny huge old new young fresh ripe
    sweet sour bitter salty hot cold warm cool dry wet clean dirty full empty open closed quick slow fast early late
    first last next previous left right upper lower inner outer front back main wooden golden silver stone paper
    plastic quiet loud calm busy happy sad angry brave shy kind rich poor strong weak safe simple complex plain
    fancy common rare single double triple equal different similar unique repeated missing extra hidden visible
    local foreign public private royal wild tame northern southern eastern western ancient modern daily weekly
    monthly annual largest smallest longest shortest greatest least highest lowest nearest odd even prime perfect
    positive negative whole total possible valid distinct proper natural compound sorted reversed random absolute
    relative exact sample final initial opposite complementary
    """.split()
)

# Where the need stands in an instruction. The words around it are what tells a need from a remark.
FRAMES: tuple[str, ...] = (
    "bring me {need}",
    "i want {need}",
    "we want to see {need} now",
    "look up {need} for me",
    "my neighbor asks for {need}",
    "kindly report {need}",
    "let me know {need}",
    "how about {need}",
    "name {need}",
    "the quiz asks for {need}",
    "somebody has to deliver {need}",
    "write down {need}",
    "hand over {need} please",
    "what would be {need}",
    "help me with {need}",
    "we are looking for {need}",
    "can anyone provide {need}",
    "state {need}",
    "please obtain {need}",
    "is there a way to get {need}",
)
# Wordings of a need in running text; {0}, {1}, {2} are its key words.
PHRASES: dict[int, tuple[str, ...]] = {
    1: ("{0}", "{0} alone", "kind of {0}", "how {0} it looks"),
    2: (
        "{0} {1}",
        "{0} of the {1}",
        "{1} with a {0}",
        "how {0} a {1} grows",
        "what {0} the {1} wants",
        "{0} in any {1}",
    ),
    3: (
        "{0} {1} {2}",
        "{0} {1} of some {2}",
        "{0} that every {1} {2} brings",
        "how {0} the {1} near a {2} seems",
        "{1} between the {0} and {2}",
        "{0} for each {1} with {2}",
        "what a {0} {1} makes of {2}",
    ),
    4: (
        "{0} {1} {2} {3}",
        "{0} {1} under a {2} {3}",
        "{0} of {1} and of the {2} {3}",
        "how {0} {1} turns into {2} {3}",
        "{3} after {0} without {1} {2}",
        "what some {0} and {1} do with {2} {3}",
    ),
}
# Remarks that name somebody else's need.
REMARKS: tuple[str, ...] = (
    "my uncle wrote about {p}, but",
    "a poster on {p} hangs in the hall.",
    "the radio talks of {p} and {q} all day;",
    "people who like {p} left early, so",
    "leave {p} to the others;",
    "next door they argue over {p}.",
    "since the club voted on {p} or {q},",
    "apart from {p},",
)
# What stands for the first result in the second need.
FED: tuple[str, ...] = ("the result", "the result", "it", "that {n}", "that {n}", "this", "what comes out", "that")
SECOND_FRAMES: tuple[str, ...] = (
    "bring me {first}, and afterwards {second}",
    "start with {first}; after that i want {second}",
    "obtain {first} and with it {second}",
    "first comes {first}, next comes {second}",
    "once you know {first}, report {second}",
    "i want {second}, where the result is {first}",
    "deliver {first}. use it to get {second}",
    "from {first} go on to {second}",
    "we need {first} before {second}",
    "do {first}, next do {second}",
)
LATER_FRAMES: tuple[str, ...] = (
    "we begin by {first} and end with {second}",
    "{first} please, plus {second}",
    "hand me {first}; later on {second}",
    "after {first} has been settled, {second} is due",
    "i would love {first} and also {second}",
    "{second} is wanted once {first} is there",
)
CLAUSES: tuple[str, ...] = (
    "my {a} sits beside the {b}, so",
    "after the {a} came a {b};",
    "forget the {a}.",
    "the {a} is nice but",
    "although a {a} was near the {b},",
    "yesterday we sold the {a} and the {b}.",
    "nobody cares about the {a} here;",
    "before the {a} arrives,",
    "with a {a} on my mind,",
    "this has nothing to do with the {a} or the {b}:",
    "our {a} likes the {b}.",
    "never mind the {a};",
)
