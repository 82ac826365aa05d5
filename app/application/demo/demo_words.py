"""The words of which the demo's catalog is made. Invented titles only; any likeness to a real one is chance."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GenreWords:
    """What titles and tags of one genre are made of; `near` are the genres it mixes with."""

    adjectives: tuple[str, ...]
    nouns: tuple[str, ...]
    tags: tuple[str, ...]
    near: tuple[str, ...]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(", "))


def _genre(adjectives: str, nouns: str, tags: str, near: str) -> GenreWords:
    return GenreWords(_words(adjectives), _words(nouns), _words(tags), _words(near))


GENRES: dict[str, GenreWords] = {
    "Action": _genre(
        "Burning, Iron, Relentless, Steel, Reckless, Blazing",
        "Convoy, Crossfire, Vanguard, Bullet, Ambush, Gauntlet, Skyline, Payload",
        "car chase, mercenaries, revenge, martial arts, rescue mission, one against many",
        "Thriller, Adventure, Science Fiction",
    ),
    "Adventure": _genre(
        "Hidden, Uncharted, Golden, Distant, Forgotten, Windswept",
        "Expedition, Compass, Passage, Caravan, Summit, Archipelago, Lagoon, Atlas",
        "treasure hunt, jungle, sea voyage, survival, lost city, mountaineering",
        "Action, Fantasy, Family",
    ),
    "Animation": _genre(
        "Tiny, Clockwork, Paper, Velvet, Wobbly, Painted",
        "Lantern, Hedgehog, Robot, Balloon, Orchestra, Teapot, Whale, Puppet",
        "talking animals, stop motion, toys, friendship, small hero, songs",
        "Family, Comedy, Fantasy",
    ),
    "Comedy": _genre(
        "Awkward, Accidental, Sunny, Hopeless, Borrowed, Second-Best",
        "Wedding, Neighbours, Roommates, Holiday, Landlord, Reunion, Casserole, Intern",
        "mistaken identity, road trip, office life, family chaos, satire, odd couple",
        "Romance, Family, Crime",
    ),
    "Crime": _genre(
        "Crooked, Cold, Silent, Dirty, Nameless, Broken",
        "Alibi, Ledger, Precinct, Syndicate, Vault, Informant, Getaway, Verdict",
        "heist, detective, undercover, mafia, corruption, courtroom",
        "Thriller, Drama, Mystery",
    ),
    "Documentary": _genre(
        "Living, Unseen, Deep, Vanishing, Everyday, Wild",
        "Oceans, Glaciers, Kitchens, Orchestras, Cities, Forests, Archives, Machines",
        "nature, food, music, history, science, portrait",
        "Drama, Family, Adventure",
    ),
    "Drama": _genre(
        "Quiet, Northern, Unfinished, Tender, Long, Grey",
        "Harbour, Inheritance, Orchard, Winter, Letters, Father, Silence, Tide",
        "coming of age, family secrets, grief, small town, based on a book, war",
        "Romance, Crime, Mystery",
    ),
    "Family": _genre(
        "Merry, Brave, Secret, Curious, Upside-Down, Little",
        "Treehouse, Circus, Lighthouse, Puppy, Sleigh, Garden, Grandmother, Parade",
        "school, dogs, holidays, siblings, wishes, summer",
        "Animation, Comedy, Adventure",
    ),
    "Fantasy": _genre(
        "Silver, Enchanted, Thorned, Eternal, Moonlit, Raven",
        "Crown, Sorcerer, Kingdom, Dragon, Oath, Labyrinth, Prophecy, Spellbook",
        "magic, dragons, quest, prophecy, witches, other worlds",
        "Adventure, Animation, Science Fiction",
    ),
    "Horror": _genre(
        "Hollow, Rotten, Whispering, Buried, Sleepless, Pale",
        "Cellar, Asylum, Doll, Séance, Harvest, Attic, Swamp, Mirror",
        "haunted house, possession, slasher, folk horror, found footage, vampires",
        "Thriller, Mystery, Science Fiction",
    ),
    "Mystery": _genre(
        "Missing, Locked, Curious, Foggy, Thirteenth, Blind",
        "Witness, Manor, Cipher, Portrait, Ferry, Lodger, Clockmaker, Diary",
        "whodunit, amateur sleuth, locked room, missing person, twist ending, country house",
        "Crime, Thriller, Drama",
    ),
    "Romance": _genre(
        "Summer, Paper, Stolen, Midnight, Almost, Crimson",
        "Promise, Waltz, Bakery, Serenade, Heart, Postcard, Balcony, Goodbye",
        "second chance, enemies to lovers, wedding, long distance, first love, period piece",
        "Comedy, Drama, Fantasy",
    ),
    "Science Fiction": _genre(
        "Orbital, Quantum, Artificial, Dark, Last, Synthetic",
        "Colony, Signal, Horizon, Android, Eclipse, Archive, Gravity, Transmission",
        "space, time travel, artificial intelligence, dystopia, first contact, parallel worlds",
        "Action, Thriller, Horror",
    ),
    "Thriller": _genre(
        "Fatal, Hidden, Double, Dead, Paranoid, Glass",
        "Witness, Deadline, Hostage, Conspiracy, Stranger, Exchange, Silence, Pursuit",
        "conspiracy, cat and mouse, spies, kidnapping, unreliable narrator, cyber attack",
        "Crime, Action, Mystery",
    ),
}

PLACES = _words(
    "Lisbon, Tromsø, Havana, Marrakesh, Kyoto, Trieste, Odessa, Buenos Aires, Galway, Tbilisi, Zanzibar, Quebec, "
    "Naples, Bergen, Saigon, Porto, Samarkand, Valparaíso, Dresden, Reykjavík, Montevideo, Split, Lucknow, Halifax"
)
NAMES = _words(
    "Amara, Bruno, Clara, Dmitri, Elena, Farid, Greta, Hugo, Ines, Jonas, Katya, Leo, Mina, Nadia, Oskar, Priya, "
    "Quentin, Rosa, Sami, Tilda, Umar, Vera, Wanda, Yusuf"
)
COUNTRIES = _words("BR, CA, DE, ES, FR, GB, IN, IT, JP, KE, MX, NO, PL, US")
LANGUAGES = _words("en, en, en, es, fr, de, it, ja, no, pt, hi")
DEVICES = ("tv", "phone", "tablet", "web")

TITLE_SHAPES = (
    "The {adjective} {noun}",
    "The {adjective} {noun}",
    "{adjective} {noun}",
    "{noun} of {place}",
    "The {noun} in {place}",
    "{name} and the {noun}",
    "A {noun} for {name}",
    "Last {noun} to {place}",
    "{name}'s {adjective} {noun}",
)
