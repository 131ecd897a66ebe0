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

#define WORDS 6
static const char *const time_words[TIMES][WORDS] = {
    {"at dawn", "in the early morning", "at sunrise", "at daybreak", "in the morning light",
     "as the sun rises"},
    {"at noon", "at midday", "by day", "in bright daylight", "in the middle of the day",
     "under the noon sun"},
    {"at sunset", "in the evening", "at dusk", "in the evening light", "as the sun goes down",
     "in the glow of sunset"},
    {"at night", "by night", "under the stars", "in the moonlight", "under the moon",
     "in the dark of night"},
};
static const char *const weather_words[WEATHERS][WORDS] = {
    {"under a clear sky", "in clear weather", "in fine weather", "with a clear sky",
     "under a cloudless sky", "with no cloud in the sky"},
    {"under drifting clouds", "under a cloudy sky", "with white clouds", "with clouds in the sky",
     "in cloudy weather", "while clouds drift by"},
    {"in the rain", "while it rains", "in rainy weather", "with rain falling", "as rain falls",
     "in pouring rain"},
    {"in the snow", "while it snows", "in snowy weather", "with snow falling", "as snow falls",
     "in falling snow"},
};
static const char *const ground_words[GROUNDS][WORDS] = {
    {"over the sea", "above the waves", "by the ocean", "over calm water", "over the ocean",
     "above a blue sea"},
    {"over green hills", "in green hills", "over the hills", "above grassy hills",
     "in the green countryside", "over meadows and hills"},
    {"in the desert", "over the desert", "over sand dunes", "among dunes", "over desert sand",
     "above the dunes"},
    {"over the city", "in the city", "before a city skyline", "above the skyline",
     "by tall buildings", "over a big city"},
};
static const char *const boat_ground[WORDS] = {"on the sea",     "on a calm sea", "on the water",
                                               "on the ocean",   "over the waves", "at sea"};
static const char *const land_ground[GROUNDS][WORDS] = {
    {"", "", "", "", "", ""},
    {"on green hills", "in the hills", "through green hills", "in a green meadow",
     "in the green countryside", "across the hills"},
    {"in the desert", "on desert sand", "through the desert", "across the desert", "in the dunes",
     "on the sand"},
    {"in the city", "before a city skyline", "through the city", "in a big city",
     "by tall buildings", "in front of skyscrapers"},
};
static const char *const thing_words[THINGS][4] = {
    {"sailboat", "sailboat", "boat", "sailing boat"},
    {"hot-air balloon", "balloon", "balloon", "hot air balloon"},
    {"bird", "bird", "seabird", "little bird"},
    {"ball", "ball", "rubber ball", "big ball"},
    {"train", "train", "steam train", "railway train"},
};
static const char *const verbs[THINGS][2] = {
    {"sails", "drifts"}, {"floats", "drifts"}, {"flies", "glides"}, {"rolls", "rolls"},
    {"drives", "rides"},
};
static const char *const verbings[THINGS][2] = {
    {"sailing", "drifting"}, {"floating", "drifting"}, {"flying", "gliding"},
    {"rolling", "rolling"},  {"driving", "riding"},
};
static const char *const slow_words[] = {"slowly", "gently", "calmly", "slowly"};
static const char *const fast_words[] = {"fast", "quickly", "at high speed", "fast"};
static const char *const left_words[] = {"left", "to the left", "left", "leftwards"};
static const char *const right_words[] = {"right", "to the right", "right", "rightwards"};

static const char *ground_phrase(const struct attributes *a, uint64_t *state)
{
    if (a->thing == THING_SAILBOAT)
        return PICK(boat_ground, state);
    if (a->thing == THING_BALL || a->thing == THING_TRAIN)
        return PICK(land_ground[a->ground], state);
    return PICK(ground_words[a->ground], state);
}

/* "drifts left" or "drifting left". */
static void motion_phrase(char *text, size_t size, const struct attributes *a, int participle,
                          uint64_t *state)
{
    const char *way = a->motion == LEFT ? PICK(left_words, state) : PICK(right_words, state);
    const char *verb = participle ? PICK(verbings[a->thing], state) : PICK(verbs[a->thing], state);
    switch (a->motion) {
    case LEFT:
    case RIGHT:
        if (random_unit(state) < 0.2f)
            verb = participle ? "moving" : "moves";
        snprintf(text, size, "%s %s", verb, way);
        break;
    case RISING:
        snprintf(text, size, "%s",
                 random_unit(state) < 0.6f ? (participle ? "rising" : "rises")
                                           : (participle ? "going up" : "climbs"));
        break;
    case SINKING:
        snprintf(text, size, "%s",
                 random_unit(state) < 0.6f ? (participle ? "sinking" : "sinks")
                                           : (participle ? "coming down" : "descends"));
        break;
    case BOUNCING:
        snprintf(text, size, "%s",
                 random_unit(state) < 0.7f ? (participle ? "bouncing" : "bounces")
                                           : (participle ? "bouncing up and down"
                                                         : "bounces up and down"));
        break;
    default:
        snprintf(text, size, "%s",
                 random_unit(state) < 0.6f ? (participle ? "circling" : "circles")
                                           : (participle ? "flying in circles"
                                                         : "flies in circles"));
    }
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
    int tell_time = random_unit(&state) >= leave_out, tell_weather = random_unit(&state) >= leave_out;
    int tell_ground = random_unit(&state) >= leave_out, tell_color = random_unit(&state) >= leave_out / 2;
    int tell_motion = random_unit(&state) >= leave_out;
    int tell_speed = tell_motion && random_unit(&state) < 0.6f;
    int style = random_below(&state, 6), last = style >= 4;
    char motion[64];
    if (a->weather == WEATHER_CLEAR && random_unit(&state) < 0.4f)
        tell_weather = 0; /* nobody speaks of it */
    const char *when = tell_time ? PICK(time_words[a->time], &state) : "";
    const char *weather = tell_weather ? PICK(weather_words[a->weather], &state) : "";
    const char *ground = tell_ground ? ground_phrase(a, &state) : "";
    const char *speed = !tell_speed ? "" : a->fast ? PICK(fast_words, &state)
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
    }
    if (!last || random_unit(&state) < 0.5f)
        add(&s, tell_color && a->color == ORANGE ? "an" : random_unit(&state) < 0.2f ? "the" : "a");
    if (tell_color)
        add(&s, names[4][a->color]);
    add(&s, PICK(thing_words[a->thing], &state));
    if (tell_motion) {
        motion_phrase(motion, sizeof motion, a, last, &state);
        add(&s, motion);
        add(&s, speed);
    }
    if (last) /* "red balloon rising, at night, in the rain" */
        for (int i = 0; i < 3; i++) {
            const char *part = i == 0 ? ground : i == 1 ? when : weather;
            if (*part && random_unit(&state) < 0.5f)
                add(&s, ",");
            add(&s, part);
        }
    else if (style == 3 && (*when || *weather)) { /* two sentences */
        static const char *const it[TIMES] = {"It is dawn", "It is noon", "It is evening",
                                              "It is night"};
        static const char *const sky[WEATHERS] = {"The sky is clear", "Clouds drift by",
                                                  "It is raining", "It is snowing"};
        add(&s, ground);
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
