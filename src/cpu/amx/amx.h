/* AMX: eight registers ("tiles") of 16 rows of 64 bytes, and an instruction that multiplies two tiles
 * of bf16 and adds to a tile of f32, 16 x 16 x 32 multiply-adds in 16 cycles. */
#pragma once

#include <stdbool.h>

/* Whether processor, system and this build have it. The first call asks the system for leave to use
 * the tiles, for the whole process. */
bool amx_usable(void);
