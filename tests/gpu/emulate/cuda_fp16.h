/* Stands in for CUDA's header where kernels run as host C++ (emulate.h). */
#pragma once

#include <math.h>
#include <stdint.h>

struct __half_raw {
    uint16_t x;
};

struct __half {
    uint16_t bits;
    __half() = default;
    explicit __half(__half_raw raw) : bits(raw.x)
    {
    }
};

static inline float __half2float(__half x)
{
    int exponent = x.bits >> 10 & 31, fraction = x.bits & 1023;
    float size = exponent == 31 ? fraction ? NAN : INFINITY
                 : exponent     ? ldexpf((float)(1024 + fraction), exponent - 25)
                                : ldexpf((float)fraction, -24);
    return x.bits >> 15 ? -size : size;
}
