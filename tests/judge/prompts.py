#!/usr/bin/env python3
"""Writes prompts.txt, the prompts that the bundled model is asked and judged by: attributes, a tab and
the prompt; lines of the subset for continuous integration begin with "ci ". Made once and kept.

The phrasings are meant to differ from those of the training captions."""
import random

THINGS = {  # grounds, motions, names
    'boat': (['sea'], ['left', 'right'], ['sailboat', 'boat', 'small sailing boat']),
    'balloon': (['sea', 'hills', 'desert', 'city'], ['left', 'right', 'rising', 'sinking'],
                ['hot-air balloon', 'balloon', 'round balloon']),
    'bird': (['sea', 'hills', 'desert', 'city'], ['left', 'right', 'circling'],
             ['bird', 'little bird', 'lone bird']),
    'ball': (['hills', 'desert', 'city'], ['left', 'right', 'bouncing'],
             ['ball', 'rubber ball', 'big round ball']),
    'train': (['hills', 'desert', 'city'], ['left', 'right'], ['train', 'steam train', 'old train']),
}
COLOURS = ['red', 'orange', 'yellow', 'green', 'blue', 'purple', 'pink', 'white']
TIME = {'dawn': ['at the break of dawn', 'early in the morning', 'just as the sun rises', 'at dawn'],
        'noon': ['around noon', 'in broad daylight', 'at midday', 'in the daytime'],
        'sunset': ['while the sun sets', 'in the late evening light', 'at sunset', 'when dusk comes'],
        'night': ['late at night', 'in the middle of the night', 'at night', 'by moonlight']}
WEATHER = {'clear': ['with not a cloud in sight', 'and the sky is clear', 'on a clear day', ''],
           'clouds': ['with a few clouds passing', 'and clouds drift along', 'under white clouds'],
           'rain': ['and it is raining', 'during a rain shower', 'in heavy rain'],
           'snow': ['and it is snowing', 'while snow is falling', 'through falling snow']}
GROUND = {'sea': ['across the sea', 'above the ocean waves', 'out on the open water'],
          'hills': ['past green hills', 'over the grassy hills', 'through a green hilly land'],
          'desert': ['across the sandy desert', 'through the dunes', 'over desert sand'],
          'city': ['past the city skyline', 'in front of tall city buildings', 'through a big city']}
MOTION = {'left': ['goes left', 'heads to the left', 'travels leftwards'],
          'right': ['goes right', 'heads to the right', 'travels rightwards'],
          'rising': ['is rising', 'goes up', 'climbs upwards'],
          'sinking': ['is sinking', 'comes down', 'descends'],
          'bouncing': ['keeps bouncing', 'bounces up and down', 'is bouncing'],
          'circling': ['keeps circling', 'flies in circles', 'is circling']}
SPEED = {'slow': ['slowly', 'at a slow pace', 'gently'], 'fast': ['fast', 'very quickly', 'at high speed']}


def line(rng, thing, motion, ground, time, weather, color, speed):
    noun = rng.choice(THINGS[thing][2])
    article = 'an' if color == 'orange' else 'a'
    what = f'{article} {color} {noun}'
    going, where = rng.choice(MOTION[motion]), rng.choice(GROUND[ground])
    when, sky, pace = rng.choice(TIME[time]), rng.choice(WEATHER[weather]), rng.choice(SPEED[speed])
    text = rng.choice([
        f'{what} {going} {pace} {where} {when} {sky}',
        f'{when}, {what} {going} {where} {pace}, {sky}',
        f'{where}, {what} {going} {pace}, {when}, {sky}',
        f'a scene {when}: {what} {going} {where} {pace}, {sky}',
        f'{what} that {going} {pace} {where}, {sky}, {when}',
    ]).strip(' ,')
    text = ' '.join(text.replace(' ,', ',').split()).replace(',,', ',')
    told = dict(time=time, weather=weather, ground=ground, color=color, motion=motion, speed=speed)
    if not sky:
        del told['weather']  # left open
    return ','.join(f'{k}={v}' for k, v in told.items()), text[0].upper() + text[1:] + '.'


def main():
    rng = random.Random(2718)
    cases = []
    while len(cases) < 200:
        # each colour, time and motion equally often, what is left at random
        i = len(cases)
        color, time = COLOURS[i % 8], list(TIME)[i // 8 % 4]
        motion = list(MOTION)[(i + i // 24) % 6]
        thing = rng.choice([t for t in THINGS if motion in THINGS[t][1]])
        ground = rng.choice(THINGS[thing][0])
        weather = rng.choice([w for w in WEATHER if not (w == 'snow' and ground == 'desert')])
        cases.append(line(rng, thing, motion, ground, time, weather, color, rng.choice(list(SPEED))))
    ci = {31, 44, 82, 102, 139, 161, 181, 184}  # every value of every kind is among them
    with open('prompts.txt', 'w', encoding='utf-8') as out:
        out.write('# attributes<TAB>prompt; "ci " marks the subset that every test run asks for\n')
        for i, (told, text) in enumerate(cases):
            out.write(f'{"ci " if i in ci else ""}{told}\t{text}\n')


if __name__ == '__main__':
    main()
