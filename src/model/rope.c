#include "model/rope.h"

struct rope_split rope_split(int head_dim)
{
    int pairs = head_dim / 2, third = pairs / 3;
    return (struct rope_split){.frame = pairs - 2 * third, .row = third, .column = third};
}
