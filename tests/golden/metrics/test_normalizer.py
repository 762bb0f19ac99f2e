"""Our normalisation against OpenAI's own code, on sentences that use each of its rules."""

from bench.metrics.functional.text import normalize_english

SENTENCES = (
    "Mr. Park's colour, isn't it?",
    "Um, I'm gonna pay twenty-five dollars and 50 cents.",
    "It's kinda cold, 'cause the heater broke; dunno why, sorta weird.",
    "We have got to go. I have gotta go!",
    "He's been there; she'd gone; they'll've left.",
    "One hundred and twenty three thousand, four hundred and fifty-six.",
    "In nineteen ninety nine, the 2nd of May, at half past three.",
    "[noise] The (quietly) train left. <unk>",
    "Café, naïve, Æsop, straße, Øre",
    "The total is £3,000,000 or about $3.5 million.",
    "double oh seven; triple five; nine one one",
    "Seventy-two percent, or 72%, of 1/2.",
    "Hmm, mm, mhm. Uh, what's that? Ain't nothing.",
    "Dr. Smith, Prof. Jones and St. John's esq. Jr.",
    "The organisation analysed the catalogue in the theatre; grey aluminium.",
    "y'all can't won't shan't let's",
    "two and a half; point five; 3.14; minus four",
    "the 1960s, the sixties, twenty twenty",
    "A.M. and P.M.; e.g. U.S.A.; 10:30",
    "",
    "...",
    "one oh one, two thousand and one, first, second and twenty third",
)


def openai_normalisations():
    from whisper.normalizers import EnglishTextNormalizer  # the extra `whisper`

    normalizer = EnglishTextNormalizer()
    return {sentence: normalizer(sentence).strip() for sentence in SENTENCES}


def test_normalisation_equals_openais(golden):
    expected = golden("normalizer.json", openai_normalisations)
    assert set(expected) == set(SENTENCES)
    assert {sentence: normalize_english(sentence) for sentence in SENTENCES} == expected
