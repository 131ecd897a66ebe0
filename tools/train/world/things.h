/* The things that move: where they are, how they look. */
#pragma once

#include "paint.h"
#include "world.h"

struct pose {
    float x, y, size;
    float vx, vy; /* heights a second */
    float facing; /* 1: to the right, -1: to the left */
    float turn;   /* of a rolling ball, radians */
    float beat;   /* of wings, turns */
};

struct pose thing_pose(const struct scene *scene, float seconds, float aspect);
struct color thing_color(int color);
void thing_paint(struct canvas *canvas, int thing, const struct pose *pose, struct color body,
                 struct color light);
