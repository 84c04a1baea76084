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

# Content words of everyday English, so that the tokenizer knows them whole and the base has copied each of them often.
COMMON: tuple[str, ...] = tuple(
    """
    ability absence access account action activity addition adult advance advice affair agent air alphabet amount
    anchor angle animal announce appear approach area argument arm army arrange arrive art article artist ask aspect
    attempt attention aunt author autumn award baby bake ball band bar barrel base basic battle beach bean bear beat
    beauty become bed begin behave belief believe bell belong bench benefit block blood blow blue board boil border
    borrow boss bottom bounce bow boy brain branch break breath breeze brick bright bring broken brother brush build
    bunch burn bus bush button buy cabin cable call camel camera camp candle capital captain card care carpet case
    catch category cause cell center centre century certain chain chance change channel chapter charge chart cheap
    chicken chief choice choose church cinema claim class clear clerk client climb cloud club coach coat coffee collar
    collect college colour column combine come comma comment common company compare complain complete concern
    concert condition connect consider consonant contain content contest continue control convert cookie copper corn
    correct cottage cotton cough council cousin cover crack cream create credit cricket crime crop cross crowd cry
    culture current curtain curve custom customer cycle damage dance danger daughter day deal debt decade decide
    decimal decision defend define delay delete deliver demand dentist depend design desk detail develop device
    diagram diamond dictionary differ difficult digit dinner direct disease dish display doctor document dollar
    dolphin donkey door dot doubt dozen dragon drawer dream dress drink drop drum duck due dust duty eagle earn earth
    east easy eat edge edit education effect effort egg elbow election electric elephant else email employ encode
    end enemy enjoy enough enter entry envelope environment equal error escape evening event every example except
    exchange exercise exist expect expense experience expert explain express extra fact fail fair fall fame family
    famous fan farm fashion fault favor favourite feature feeling fence fiction fight figure film finger finish fit
    fix flag flat flight flood flour flow fly focus fog folk follow food force forget fork form formula fortune
    forward fox frame free freedom freeze frequent friend frog function funny furniture future gallery game gate
    gather general gentle giant gift giraffe girl give goal goat golf good goose govern grade grain grammar grand
    grandmother grant grass great greet grey ground guard guess guest guide guitar habit hair hall hammer handle happen
    harvest hat hate hello help hen hide hill hire history hit hobby hole holiday holy honey hope horizon hotel huge
    human hundred hunger hurry hurt husband ice idea image imagine impact import improve inch include income increase
    indeed industry inform inside insect inspect instead insurance interval introduce invent invite island issue
    jacket jam jar jewel job join joke journey joy judge juice jungle junior keep kettle keyboard kill kingdom kiss
    knee knock knot knowledge label labour lady lamb land language large laugh law lawyer layer lazy leader league learn
    leather leave lecture leg lemon length lesson letter library license lie life lift like likely lion lip liquid
    literature live load local logic lonely longest look loose lose loss loud love luck lunch magazine magic mail main
    maintain major make manage mango manner manual margin marine marriage master match material mathematics matter
    meal meaning measure meat media medical medicine meeting melody melon member memory mention menu message metal
    method metre middle military million mind mine minus minute mirror miss mistake mix mobile model moment monkey
    monster month mood morning morse mother motion motor mouse movement movie muscle music mystery nail name narrow
    nation nature near neck need needle negative nerve nest network news newspaper nice night normal notice novel nurse
    object observe obtain occur offer officer often onion opera operate opinion opposite option orange orchestra
    organ origin outside oven owner oxygen pace package page pain pair palace panda panel panic parade parcel parent
    park part particular partner party pass passage passenger past patient pause peace pear peak pepper percentage
    perform permit person phone photo phrase piano picture pigeon pilot pin pipe pitch place plan planet plant
    plastic platform player please pleasure plenty plural plus pocket poem poet point police polite pollution pool
    popular population position possible potato pound powder practice praise prefer prefix prepare present president
    press pretty prevent print prison prize problem process produce profession program progress project promise
    proof protect proud prove provide pupil purpose puzzle quality quantity quarrel question queue quick quiet quiz
    rabbit race radio rail raise rapid reach react read ready reason receive recipe recommend rectangle reduce region
    regular relation release relief religion remain remark remember remind remote rent repair repeat replace reply
    require rescue research reserve respect rest restaurant return reveal review reward rhyme rhythm ribbon rice ride
    riddle rigid ring rise risk ritual rival road robot rock roll romantic root rose royal rubber rubbish rule ruler
    rural saddle salad salary sale sand sandwich satellite sauce sausage save scene schedule scheme science scissors
    score screen script seal seat secret section secure seed select sell send senior sense separate series serious
    service session settle seven several shadow shake shape share sheet shelf shell shelter shift shine shirt shock
    shoe shoot shoulder shout shower sibling side sign signal silk simple sing sister situation skill skin skirt sleep
    slice slide slip smart smell smile smoke snake social society sock soil soldier solid solution solve source
    south space speak special species speech spell spend spider spin spirit split sport spot spread spring stable
    staff stage stair stamp stand standard state statement steal steam steel stem stick still stock stomach storage
    store story straight strange stranger stream street stretch strike structure struggle student study style subject
    success sudden suffix sugar suggest suit suitable summer supper supply support surface surname surprise survey
    swim swing switch syllable symbol system table tail talent talk target task taste tax team tear technique
    technology telephone temple tennis tension tent term test text thanks theory thermometer thief thing thousand
    thread threat throat thumb thunder tie tiger tight timber time tiny title toast today toe tomato tomorrow tongue
    tooth topic total touch tour toward town track trade tradition traffic trail transfer transport trap travel
    treasure treat tree trend trial tribe trick trip trouble truck true trumpet trust truth try tube tunnel turkey
    turtle twin twist type typical ugly umbrella uncle under understand uniform union unique unit universe university
    update upset urban useful usual vacation valley value vary vast vegetable vehicle version victory video view
    violin virtue visit visitor vocabulary volcano voyage wage wait wake walk wallet want war warm warning waste watch
    wave wealth weapon weather web wedding week weigh welcome west whale wheat whisper whistle whole wife wild willow
    window wing winner winter wisdom wise wish wolf woman wonder wood wool work world worry worth wound wrap wrist
    wrong yard yellow yesterday young youth zebra zero zone
    """.split()
)

# Words that hold sentences together. No need is made of them; they are recited, so that they can be copied.
LITTLE: tuple[str, ...] = tuple(
    """
    a about above after afterwards again against ago ahead all almost alone along already also although always am
    among an and another any anybody anything apart are around as at away back be because been before behind being
    below beneath beside besides between beyond both but by can could did do does doing done down during each either
    else even ever every except far few finally first five for found four from further gave get given goes going gone
    got had half has have having he hence her here him his how however i if in indeed inside instead into is it its
    itself just kept knew know known last later least less let like made many may me meanwhile might mine more most much
    must my near neither never next nine no nobody none nor not nothing now of off often on once one only onto or other
    our out over own past per perhaps please put quite rather said same second see seen seven shall she should since six
    so some somebody something soon still such take taken tell ten than that the their them then there these they thing
    third this those though three through throughout till to together too told took toward two under until up upon us
    used very was way we well went were what when whenever where whether which while who whole whom whose why will with
    within without work worked would yes yet you your yours
    January February March April May June July August September October November December
    Monday Tuesday Wednesday Thursday Friday Saturday Sunday
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
# Parts that requests in running text are put together from, so that no frame is there to be learned by heart: what is
# wanted is told by the values beside it. {v} is a verb, any verb; {a} and {b} are things.
OPENERS: tuple[str, ...] = (
    *[""] * 8,
    "well,",
    "hello,",
    "question:",
    "a small thing:",
    "{a} again:",
    "so,",
    "for the {a},",
    "in {b} today,",
    "{a} first:",
    "by the way,",
    "as a {a},",
    "it is about {b}.",
    "{a} or not,",
    "{b}!",
)
ASKS: tuple[str, ...] = (
    "",
    "",
    *["{v}"] * 5,
    "{v} me",
    "{v} us",
    "please {v}",
    "kindly {v}",
    "do {v}",
    "could somebody {v}",
    "would you {v}",
    "will you {v} me",
    "we must {v}",
    "i have to {v}",
    "they want to {v}",
    "you should {v}",
    "let us {v}",
    "try to {v}",
    "it is time to {v}",
    "the {a} asks you to {v}",
    "the {a} must {v}",
    "my {a} needs",
    "what about",
    "how much is",
    "the question is",
    "i am curious about",
    "nobody knew",
    "who knows",
    "all i need is",
    "say",
    "here is what to {v}:",
)
CLOSERS: tuple[str, ...] = (
    *[""] * 8,
    "please",
    "thanks",
    "for the {a}",
    "right away",
    "if you can",
    "before the {a} comes",
    "and nothing else",
    "will you",
    "for me and the {a}",
)
JOINERS: tuple[str, ...] = (
    "{first} and {second}",
    "{first}, {second}",
    "{first}; {second}",
    "{first}. {second}",
    "{first}, next {second}",
    "{first} and after it {second}",
    "{first}, whereupon {second}",
    "step one, {first}; step two, {second}",
    "(1) {first} (2) {second}",
    "{second}, but before that {first}",
    "{first}. with that, {second}",
    "given {first}, {second}",
    "as soon as there is {first}, {second}",
    "{second} once {first} is there",
    "{second}, but not before {first}",
)
REMARK_OPENINGS: tuple[str, ...] = (
    "my {a} talks of",
    "a page about",
    "while the {a} deals with",
    "the {a} is full of",
    "between",
    "because of",
    "without",
    "many a {a} likes",
    "after a week of",
    "it is not about",
    "our {a} knows",
    "ever since",
    "the {b} shows",
    "to forget",
)
