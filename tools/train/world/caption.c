/* Sentences about a scene, in many phrasings. */
#include <stdio.h>
#include <string.h>

#include "random.h"
#include "world.h"

#define PICK(list, state) (list)[random_below(state, (int)(sizeof(list) / sizeof *(list)))]

static const char *const names[][8] = {
    {"dawn", "noon", "sunset", "night"},
    {"clear", "clouds", "rain", "snow"},
    {"sea", "hills", "desert", "city"},
    {"sailboat", "balloon", "bird", "ball", "train"},
    {"red", "orange", "yellow", "green", "blue", "purple", "pink", "white"},
    {"left", "right", "rising", "sinking", "bouncing", "circling"},
    {"slow", "fast"},
};

const char *world_name(int kind, int value)
{
    return names[kind][value];
}

#define WORDS 10
#define TIME_WORDS 16
static const char *const time_words[TIMES][TIME_WORDS] = {
    {"at dawn", "in the early morning", "at sunrise", "at daybreak", "in the morning light",
     "as the sun rises", "early in the day", "when morning breaks", "in the morning",
     "at first light", "when the sun comes up", "while the sun is rising", "in the light of dawn",
     "when the sun rises", "now that the sun rises", "where the sun rises"},
    {"at noon", "at midday", "by day", "in bright daylight", "in the middle of the day",
     "under the noon sun", "during the day", "in the daytime", "in full daylight",
     "at twelve o'clock", "while the sun is high", "in the light of day", "when the sun is high",
     "as the sun stands high", "now that it is noon", "in the noon light"},
    {"at sunset", "in the evening", "at dusk", "in the evening light", "as the sun goes down",
     "in the glow of sunset", "late in the evening", "when the sun sets", "at sundown",
     "as dusk falls", "as the sun is setting", "while the sun goes down", "in the light of sunset",
     "as the sun sets", "now that the sun sets", "where the sun sets"},
    {"at night", "by night", "under the stars", "in the moonlight", "under the moon",
     "in the dark of night", "in the middle of the night", "late in the night", "at midnight",
     "by the light of the moon", "while the moon is up", "on a dark night", "when it is dark",
     "as the moon shines", "now that it is night", "in the light of the stars"},
};
/* The same in words that combine, so that what is learnt is the words and not whole phrases: "while
 * the sun starts to set", "in the quiet morning light". */
static const char *const while_words[] = {"when", "as", "while", "just when", "now that", "where"};
static const char *const lights[TIMES][2] = {
    {"the sun", "the morning sun"},
    {"the sun", "the bright sun"},
    {"the sun", "the evening sun"},
    {"the moon", "a bright moon"},
};
static const char *const light_verbs[TIMES][7] = {
    {"is rising", "comes up", "starts to rise", "climbs into the sky", "rises in the east",
     "wakes up", "is coming up"},
    {"is high", "stands high", "is overhead", "shines from above", "is at its highest",
     "stands over everything", "shines brightly"},
    {"is setting", "goes down", "starts to set", "sinks low", "sinks in the west", "disappears",
     "is going down"},
    {"is up", "shines", "is out", "glows in the dark", "stands among the stars", "gives some light",
     "and the stars shine"},
};
static const char *const moods[] = {"quiet", "calm", "cool", "warm",
                                    "soft",  "fine", "long", "clear"};
static const char *const times_of_day[TIMES][3] = {
    {"morning", "dawn", "morning"},
    {"day", "noon", "midday"},
    {"evening", "dusk", "sunset"},
    {"night", "night", "midnight"},
};
static const char *const after_time[] = {"", "", " light", " hours", " air", " hour"};
static const char *const weather_words[WEATHERS][WORDS] = {
    {"under a clear sky", "in clear weather", "in fine weather", "with a clear sky",
     "under a cloudless sky", "with no cloud in the sky", "with no clouds",
     "without a cloud to be seen", "in good weather", "on a fine clear day"},
    {"under drifting clouds", "under a cloudy sky", "with white clouds", "with clouds in the sky",
     "in cloudy weather", "while clouds drift by", "as clouds pass", "with passing clouds",
     "below a few clouds", "on a cloudy day"},
    {"in the rain", "while it rains", "in rainy weather", "with rain falling", "as rain falls",
     "in pouring rain", "in a rain shower", "in light rain", "on a rainy day",
     "while heavy rain comes down"},
    {"in the snow", "while it snows", "in snowy weather", "with snow falling", "as snow falls",
     "in falling snow", "in a snow shower", "while snow comes down", "on a snowy day",
     "through the snow"},
};
static const char *const ground_words[GROUNDS][WORDS] = {
    {"over the sea", "above the waves", "by the ocean", "over calm water", "over the ocean",
     "above a blue sea", "across the water", "over the open sea", "above the sea",
     "over the waves"},
    {"over green hills", "in green hills", "over the hills", "above grassy hills",
     "in the green countryside", "over meadows and hills", "over grass and hills", "past the hills",
     "across green land", "above a hilly land"},
    {"in the desert", "over the desert", "over sand dunes", "among dunes", "over desert sand",
     "above the dunes", "past sandy dunes", "across the desert", "above the sand",
     "over a sandy desert"},
    {"over the city", "in the city", "before a city skyline", "above the skyline",
     "by tall buildings", "over a big city", "above the roofs of the city", "past tall houses",
     "across the city", "in front of the skyline"},
};
static const char *const boat_ground[WORDS] = {
    "on the sea", "on a calm sea",  "on the water",  "on the ocean",      "over the waves",
    "at sea",     "across the sea", "on open water", "through the waves", "out at sea"};
static const char *const land_ground[GROUNDS][WORDS] = {
    {"", "", "", "", "", "", "", "", "", ""},
    {"on green hills", "in the hills", "through green hills", "in a green meadow",
     "in the green countryside", "across the hills", "through grassy hills", "on the grass",
     "past green hills", "in a hilly land"},
    {"in the desert", "on desert sand", "through the desert", "across the desert", "in the dunes",
     "on the sand", "past the dunes", "over sand dunes", "through a sandy desert",
     "across the sand"},
    {"in the city", "before a city skyline", "through the city", "in a big city",
     "by tall buildings", "in front of skyscrapers", "past the skyline", "past tall houses",
     "in front of the city", "across the city"},
};
static const char *const thing_words[THINGS][6] = {
    {"sailboat", "sailboat", "boat", "sailing boat", "small boat", "little sailboat"},
    {"hot-air balloon", "balloon", "balloon", "hot air balloon", "big balloon", "round balloon"},
    {"bird", "bird", "seabird", "little bird", "lonely bird", "small bird"},
    {"ball", "ball", "rubber ball", "big ball", "round ball", "toy ball"},
    {"train", "train", "steam train", "railway train", "old train", "long train"},
};
static const char *const verbs[THINGS][2] = {
    {"sails", "drifts"}, {"floats", "drifts"}, {"flies", "glides"},
    {"rolls", "rolls"},  {"drives", "rides"},
};
static const char *const verbings[THINGS][2] = {
    {"sailing", "drifting"}, {"floating", "drifting"}, {"flying", "gliding"},
    {"rolling", "rolling"},  {"driving", "riding"},
};
static const char *const any_verbs[] = {"moves", "goes",      "travels",
                                        "heads", "is moving", "is going"};
static const char *const any_verbings[] = {"moving",  "going",      "travelling",
                                           "heading", "on its way", "which goes"};
static const char *const slow_words[] = {"slowly",          "gently",          "calmly",
                                         "slowly",          "at a slow speed", "very slowly",
                                         "at an easy pace", "without haste"};
static const char *const fast_words[] = {"fast",    "quickly",   "at high speed",
                                         "fast",    "very fast", "at a fast pace",
                                         "rapidly", "in a hurry"};
static const char *const left_words[] = {"left",      "to the left",      "left",
                                         "leftwards", "towards the left", "from right to left"};
static const char *const right_words[] = {"right",      "to the right",      "right",
                                          "rightwards", "towards the right", "from left to right"};
static const char *const other_motions[MOTIONS][2][6] = {
    [RISING] = {{"rises", "climbs", "goes up", "moves upwards", "is rising", "lifts off"},
                {"rising", "climbing", "going up", "moving upwards", "rising", "on its way up"}},
    [SINKING] = {{"sinks", "descends", "goes down", "moves downwards", "is sinking", "comes down"},
                 {"sinking", "descending", "going down", "moving downwards", "sinking",
                  "coming down"}},
    [BOUNCING] = {{"bounces", "bounces up and down", "jumps up and down", "hops", "is bouncing",
                   "bounces"},
                  {"bouncing", "bouncing up and down", "jumping up and down", "hopping",
                   "that bounces", "bouncing"}},
    [CIRCLING] = {{"circles", "flies in circles", "goes round in circles", "flies round and round",
                   "is circling", "circles"},
                  {"circling", "flying in circles", "going round in circles",
                   "flying round and round", "that circles", "circling"}},
};

static const char *ground_phrase(const struct attributes *a, uint64_t *state)
{
    if (a->thing == THING_SAILBOAT)
        return PICK(boat_ground, state);
    if (a->thing == THING_BALL || a->thing == THING_TRAIN)
        return PICK(land_ground[a->ground], state);
    return PICK(ground_words[a->ground], state);
}

static void time_phrase(char *text, size_t size, const struct attributes *a, uint64_t *state)
{
    float kind = random_unit(state);
    if (kind < 0.5f)
        snprintf(text, size, "%s", PICK(time_words[a->time], state));
    else if (kind < 0.8f)
        snprintf(text, size, "%s %s %s", PICK(while_words, state), PICK(lights[a->time], state),
                 PICK(light_verbs[a->time], state));
    else
        snprintf(text, size, "in the %s %s%s", PICK(moods, state),
                 PICK(times_of_day[a->time], state), PICK(after_time, state));
}

/* "drifts left" or "drifting left". */
static void motion_phrase(char *text, size_t size, const struct attributes *a, int participle,
                          uint64_t *state)
{
    if (a->motion > RIGHT) {
        snprintf(text, size, "%s", PICK(other_motions[a->motion][participle], state));
        return;
    }
    const char *way = a->motion == LEFT ? PICK(left_words, state) : PICK(right_words, state);
    const char *verb = participle ? PICK(verbings[a->thing], state) : PICK(verbs[a->thing], state);
    if (random_unit(state) < 0.4f)
        verb = participle ? PICK(any_verbings, state) : PICK(any_verbs, state);
    snprintf(text, size, "%s %s", verb, way);
}

struct sentence {
    char *text;
    size_t size, length;
};

static void add(struct sentence *s, const char *word)
{
    int n = *word ? snprintf(s->text + s->length, s->size - s->length, "%s%s",
                             s->length && *word != ',' && *word != '.' ? " " : "", word)
                  : 0;
    s->length += n > 0 && s->length + (size_t)n < s->size ? (size_t)n : 0;
}

static void capital(char *text)
{
    if (*text >= 'a' && *text <= 'z')
        *text = (char)(*text - 'a' + 'A');
}

void world_caption(const struct attributes *a, uint64_t seed, char *text, size_t size,
                   uint32_t *told)
{
    uint64_t state = seed ^ 0x63617074696f6eu;
    struct sentence s = {text, size, 0};
    float leave_out = random_unit(&state) < 0.25f ? 0.45f : 0.06f; /* now and then: short ones */
    int tell_time = random_unit(&state) >= leave_out,
        tell_weather = random_unit(&state) >= leave_out;
    int tell_ground = random_unit(&state) >= leave_out,
        tell_color = random_unit(&state) >= leave_out / 2;
    int tell_motion = random_unit(&state) >= leave_out;
    int tell_speed = tell_motion && random_unit(&state) < 0.6f;
    int style = random_below(&state, 6), last = style >= 4;
    char motion[64], when_text[80] = "";
    if (a->weather == WEATHER_CLEAR && random_unit(&state) < 0.4f)
        tell_weather = 0; /* nobody speaks of it */
    if (tell_time)
        time_phrase(when_text, sizeof when_text, a, &state);
    const char *when = when_text;
    const char *weather = tell_weather ? PICK(weather_words[a->weather], &state) : "";
    const char *ground = tell_ground ? ground_phrase(a, &state) : "";
    const char *speed = !tell_speed ? ""
                        : a->fast   ? PICK(fast_words, &state)
                                    : PICK(slow_words, &state);
    text[0] = 0;
    if (style == 1 && *when) { /* "At night, a ..." */
        add(&s, when);
        add(&s, ",");
        when = "";
    } else if (style == 2 && *weather) {
        add(&s, weather);
        add(&s, ",");
        weather = "";
    } else if (style == 0 && *ground && random_unit(&state) < 0.5f) {
        add(&s, ground);
        add(&s, ",");
        ground = "";
    }
    if (!last || random_unit(&state) < 0.5f)
        add(&s, tell_color && a->color == ORANGE ? "an" : random_unit(&state) < 0.2f ? "the" : "a");
    if (tell_color)
        add(&s, names[4][a->color]);
    add(&s, PICK(thing_words[a->thing], &state));
    if (tell_motion) {
        motion_phrase(motion, sizeof motion, a, last, &state);
        add(&s, motion);
        if (random_unit(&state) < 0.7f || !*ground) {
            add(&s, speed);
            speed = "";
        }
    }
    if (last) /* "red balloon rising, at night, in the rain" */
        for (int i = 0; i < 3; i++) {
            const char *part = i == 0 ? ground : i == 1 ? when : weather;
            if (*part && random_unit(&state) < 0.5f)
                add(&s, ",");
            add(&s, part);
            if (i == 0)
                add(&s, speed);
        }
    else if (style == 3 && (*when || *weather)) { /* two sentences */
        static const char *const it[TIMES] = {"It is dawn", "It is noon", "It is evening",
                                              "It is night"};
        static const char *const sky[WEATHERS] = {"The sky is clear", "Clouds drift by",
                                                  "It is raining", "It is snowing"};
        add(&s, ground);
        add(&s, speed);
        add(&s, ".");
        if (*when && *weather && random_unit(&state) < 0.5f) {
            add(&s, it[a->time]);
            add(&s, weather);
        } else if (*when && *weather) {
            add(&s, sky[a->weather]);
            add(&s, when);
        } else {
            add(&s, *when ? it[a->time] : sky[a->weather]);
        }
        add(&s, ".");
    } else {
        int weather_first = random_unit(&state) < 0.4f;
        add(&s, ground);
        add(&s, speed);
        if (random_unit(&state) < 0.3f && (*when || *weather))
            add(&s, ",");
        add(&s, weather_first ? weather : when);
        add(&s, weather_first ? when : weather);
    }
    if (random_unit(&state) < 0.5f)
        capital(text);
    if (style < 3 && random_unit(&state) < 0.4f)
        add(&s, ".");
    if (told)
        *told = (uint32_t)(tell_time | tell_weather << 1 | tell_ground << 2 | 1 << 3 |
                           tell_color << 4 | tell_motion << 5 | tell_speed << 6);
}
