/* Stands in for CUDA's header where kernels run as host C++ (emulate.h): e4m3, 1 sign, 4 exponent
 * bits with a bias of 7, 3 of fraction; no infinity, 0x7f is NaN, the largest is 448. */
#pragma once

#include <math.h>
#include <stdint.h>

#include "cuda_fp16.h"

typedef uint8_t __nv_fp8_storage_t;
enum __nv_saturation_t { __NV_NOSAT, __NV_SATFINITE };
enum __nv_fp8_interpretation_t { __NV_E4M3, __NV_E5M2 };

/* To nearest, ties to even; what is too large becomes +-448. */
static inline __nv_fp8_storage_t __nv_cvt_float_to_fp8(float x, __nv_saturation_t,
                                                       __nv_fp8_interpretation_t)
{
    uint8_t sign = signbit(x) ? 0x80 : 0;
    if (isnan(x))
        return 0x7f;
    double size = fabs((double)x);
    if (size >= 448)
        return sign | 0x7e;
    int exponent;
    frexp(size, &exponent); /* in [0.5, 1) 2^exponent */
    if (size < 0x1p-6)
        exponent = -5; /* denormals are multiples of 2^-9 */
    int units = (int)nearbyint(ldexp(size, 4 - exponent));
    /* 8 to 16 units of 2^(exponent - 4), fewer if denormal; a carry runs into the exponent */
    return (uint8_t)(sign | (((exponent + 5) << 3) + units));
}

/* Exact: denormals are no longer. */
static inline __half_raw __nv_cvt_fp8_to_halfraw(__nv_fp8_storage_t x, __nv_fp8_interpretation_t)
{
    int sign = x & 0x80, exponent = x >> 3 & 15, fraction = x & 7;
    if ((x & 0x7f) == 0x7f)
        return {0x7fff};
    if (!exponent && !fraction)
        return {(uint16_t)(sign << 8)};
    if (!exponent) {
        for (exponent = 1; fraction < 8; exponent--)
            fraction <<= 1;
        fraction &= 7;
    }
    return {(uint16_t)(sign << 8 | (exponent + 8) << 10 | fraction << 7)};
}
