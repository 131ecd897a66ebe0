#include "cpu/kernels/simd.h"

#define TABLE JOIN(cpu_kernels_, CPU_ISA)

const struct cpu_kernels TABLE = {
    .convert = KERNEL(convert),
    .activate = KERNEL(activate),
    .mul = KERNEL(mul),
    .add_gated = KERNEL(add_gated),
    .combine = KERNEL(combine),
    .rms_norm = KERNEL(rms_norm),
    .rms_norm_rows = KERNEL(rms_norm_rows),
    .layer_norm = KERNEL(layer_norm),
    .rope = KERNEL(rope),
    .softmax = KERNEL(softmax),
    .gemm_width = GEMM_WIDTH,
    .gemm_rows = GEMM_ROWS,
    .gemm = KERNEL(gemm),
    .gemm_columns = KERNEL(gemm_columns),
    .gemm_pieces = KERNEL(gemm_pieces),
    .winograd_input = KERNEL(winograd_input),
    .winograd_output = KERNEL(winograd_output),
    .panels = KERNEL(panels),
    .transpose = KERNEL(transpose),
    .picture_packed = KERNEL(picture_packed),
    .picture_yuv = KERNEL(picture_yuv),
};
