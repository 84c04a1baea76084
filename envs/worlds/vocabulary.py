"""The words that tasks are made of: short, common, lower-case English."""

_WORDS = """
able acid acorn actor after again agent album alley amber anchor angle animal ankle apple april apron arch arrow aspen
atlas autumn award bacon badge baker banana barn basin basket beach bean bear beaver bed bell bench berry bird biscuit
blanket blossom boat bonus book border bottle branch bread breeze brick bridge broom brother bucket butter button
cabin cactus camel camera candle canyon captain carpet carrot castle cattle cedar cellar cereal chair chalk cherry
chest chicken circus citrus clever cliff cloud clover coast coffee comet coral corner cotton cousin cradle crayon
cricket crystal cup curtain dairy daisy dance danger desert diamond dinner doctor dolphin donkey dragon drawer dream
drum eagle early earth echo elbow elder ember empty engine evening fabric falcon family farmer feather fence fern
fiddle field finger flame flower flute forest fossil fox frozen garden garlic gentle giant ginger glacier globe
goose grape gravel guitar hammer harbor harvest hazel helmet hill honey horse island ivory jacket jelly jewel journey
jungle kettle kitchen kitten ladder lake lantern laptop laurel lemon letter library lizard lumber magnet mango maple
marble market meadow melon mirror monkey morning mountain museum needle nest noodle ocean office olive onion orange
orchard otter oven owl oyster paddle palace panda paper parade parrot pastry peach pear pebble pencil pepper piano
picnic pigeon pillow pilot pirate planet plum pocket poet pond potato prairie pumpkin puppy puzzle quartz queen rabbit
radio rain raven ribbon river robin rocket root saddle salmon sand scarf school season shadow sheep silver singer
sister sketch snow soap spider spoon spring squirrel stable star stone storm summer swan table teacher temple thunder
tiger timber tomato tower train tree tulip tunnel turtle valley velvet village violet violin wagon walnut water wheel
whisper willow window winter wolf wonder yellow zebra
"""

WORDS: tuple[str, ...] = tuple(_WORDS.split())
