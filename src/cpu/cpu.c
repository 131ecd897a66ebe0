/* Opening the CPU backend: instruction set, implementation, types, threads, memory. */
#include "cpu/cpu.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "backend/module.h"
#include "cpu/peak.h"

#define HUGE_PAGE ((uintptr_t)2 << 20)

struct cpu_scratch {
    void *data;
    size_t bytes;
};

const struct cpu_heavy *const cpu_heavies[] = {
#ifdef UNREEL_AMX
    &cpu_amx,
#endif
#ifdef UNREEL_ONEDNN
    &cpu_onednn,
#endif
    &cpu_plain,
    NULL,
};

/* Kernels walk weights and activations in strides: with small pages they miss the TLB. */
static void use_huge_pages(char *data, size_t bytes)
{
#ifdef MADV_HUGEPAGE
    uintptr_t begin = ((uintptr_t)data + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);
    uintptr_t end = ((uintptr_t)data + bytes) & ~(HUGE_PAGE - 1);
    if (bytes >= 2 * HUGE_PAGE && end > begin)
        madvise((void *)begin, end - begin, MADV_HUGEPAGE); /* a wish: failing is fine */
#endif
}

void *cpu_alloc(struct backend *b, size_t bytes)
{
    /* calloc() gives untouched pages for large blocks: they cost nothing until written. */
    if (bytes > SIZE_MAX - 128)
        return NULL;
    char *block = calloc(1, bytes + 128);
    if (!block)
        return NULL;
    char *data = (char *)(((uintptr_t)block + 64 + 63) & ~(uintptr_t)63);
    ((void **)data)[-1] = block;
    use_huge_pages(data, bytes);
    return data;
}

void cpu_free(struct backend *b, void *data)
{
    if (data)
        free(((void **)data)[-1]);
}

bool cpu_scratch_reserve(struct cpu_backend *cpu, size_t bytes)
{
    for (int i = 0; i < cpu->base.threads; i++) {
        struct cpu_scratch *scratch = &cpu->scratch[i];
        if (scratch->bytes >= bytes)
            continue;
        cpu_free(&cpu->base, scratch->data);
        scratch->data = cpu_alloc(&cpu->base, bytes);
        scratch->bytes = scratch->data ? bytes : 0;
        if (!scratch->data) {
            backend_fail(&cpu->base, UNREEL_ENOMEM, "out of memory: %zu bytes a thread asked",
                         bytes);
            return false;
        }
    }
    return true;
}

void *cpu_scratch_of(struct cpu_backend *cpu, int thread)
{
    return cpu->scratch[thread].data;
}

static void cpu_close(struct backend *b)
{
    struct cpu_backend *cpu = cpu_of(b);
    if (cpu->heavy && cpu->heavy->close)
        cpu->heavy->close(cpu);
    for (int i = 0; cpu->scratch && i < b->threads; i++)
        cpu_free(b, cpu->scratch[i].data);
    thread_pool_destroy(cpu->pool);
    free(cpu->scratch);
    free(cpu);
}

static int linear_init(struct backend *b, struct linear *w)
{
    return cpu_of(b)->heavy->linear_init(b, w);
}

static void linear_finish(struct backend *b, struct linear *w)
{
    cpu_of(b)->heavy->linear_finish(b, w);
}

static void linear(struct backend *b, const struct tensor *y, const struct tensor *x,
                   struct linear *w, enum activation act)
{
    cpu_of(b)->heavy->linear(b, y, x, w, act);
}

static int conv_init(struct backend *b, struct conv *w)
{
    return cpu_of(b)->heavy->conv_init(b, w);
}

static void conv_finish(struct backend *b, struct conv *w)
{
    cpu_of(b)->heavy->conv_finish(b, w);
}

static void conv(struct backend *b, const struct tensor *y, const struct tensor *x, struct conv *w,
                 enum activation act, bool accumulate)
{
    cpu_of(b)->heavy->conv(b, y, x, w, act, accumulate);
}

static void attention(struct backend *b, const struct tensor *y, const struct tensor *q,
                      const struct tensor *k, const struct tensor *v, float scale,
                      const struct tensor *relative_bias)
{
    cpu_of(b)->heavy->attention(b, y, q, k, v, scale, relative_bias);
}

static const struct backend_ops ops = {
    .name = "cpu",
    .close = cpu_close,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .upload = cpu_transfer,
    .download = cpu_transfer,
    .linear_init = linear_init,
    .linear_finish = linear_finish,
    .conv_init = conv_init,
    .conv_finish = conv_finish,
    .copy = cpu_copy,
    .activate = cpu_activate,
    .linear = linear,
    .conv = conv,
    .attention = attention,
    .rms_norm = cpu_rms_norm,
    .layer_norm = cpu_layer_norm,
    .rope = cpu_rope,
    .add_gated = cpu_add_gated,
    .mul = cpu_mul,
    .combine = cpu_combine,
    .picture = cpu_picture,
    .rope_table = cpu_rope_table,
    .sinusoid = cpu_sinusoid,
    .noise = cpu_noise,
    .rms_norm_rope = cpu_rms_norm_rope,
    .peak = cpu_peak,
};

static int choose_type(struct backend *b, const char *dtype, bool bf16)
{
    if (!strcmp(dtype, "auto")) {
        b->compute = bf16 ? TENSOR_BF16 : TENSOR_F32;
    } else if (!strcmp(dtype, "f32")) {
        b->compute = TENSOR_F32;
    } else if (!strcmp(dtype, "fp8")) {
        return log_error(&b->log, UNREEL_EUNSUPPORTED,
                         "dtype fp8: needs an NVIDIA GPU of compute capability 8.9 or later");
    } else if (strcmp(dtype, "bf16")) {
        return log_error(&b->log, UNREEL_EINVAL, "dtype %s: not one of auto, f32, bf16, fp8",
                         dtype);
    } else if (bf16) {
        b->compute = TENSOR_BF16;
    } else {
        b->round_bf16 = true;
        log_info(&b->log,
                 "dtype bf16: no fast bf16 products on this machine; computing in f32 with "
                 "weights rounded to bf16");
    }
    return 0;
}

static int choose_heavy(struct cpu_backend *cpu, const char *name)
{
    for (int i = 0; cpu_heavies[i]; i++) {
        const struct cpu_heavy *heavy = cpu_heavies[i];
        if ((!name || !strcmp(name, heavy->name)) && (!heavy->usable || heavy->usable(cpu))) {
            cpu->heavy = heavy;
            return 0;
        }
    }
    return UNREEL_EUNSUPPORTED;
}

int cpu_open_as(struct backend **backend, const struct backend_config *config,
                const unreel_log *log, const struct cpu_choice *choice)
{
    *backend = NULL;
    enum cpu_isa isa = choice->isa;
    if (!choice->force_isa)
        for (isa = CPU_ISAS - 1; !cpu_isa_kernels(isa);)
            isa--;
    else if (!cpu_isa_kernels(isa))
        return UNREEL_EUNSUPPORTED;
    struct cpu_backend *cpu = calloc(1, sizeof *cpu);
    if (!cpu)
        return log_error(log, UNREEL_ENOMEM, "cpu: out of memory");
    struct backend *b = &cpu->base;
    b->ops = &ops;
    if (log)
        b->log = *log;
    b->threads = config->threads > 0 ? config->threads : thread_pool_processors();
    b->decode_frames = 1;
    cpu->isa = isa;
    cpu->kernels = cpu_isa_kernels(isa);
    int code = choose_type(b, config->dtype, choice->bf16 ? choice->bf16 > 0 : cpu_prefers_bf16());
    if (!code && b->compute == TENSOR_BF16)
        cpu->widens = choice->widens ? choice->widens > 0 : cpu_widens();
    if (!code)
        code = choose_heavy(cpu, choice->heavy);
    if (!code && cpu->widens)
        log_write(
            &b->log, UNREEL_LOG_DEBUG,
            "dtype bf16: activations and the weights of matrix products are kept as bf16, all is "
            "multiplied as f32, which is faster on this machine");
    if (!code) {
        cpu->scratch = calloc((size_t)b->threads, sizeof *cpu->scratch);
        cpu->pool = thread_pool_create(b->threads);
        if (!cpu->scratch || !cpu->pool)
            code = log_error(log, UNREEL_ENOMEM, "cpu: cannot start %d threads", b->threads);
    }
    if (!code && cpu->heavy->open)
        code = cpu->heavy->open(cpu);
    if (code < 0) {
        cpu_close(b);
        return code;
    }
    *backend = b;
    return 0;
}

static int open_best(struct backend **backend, const struct backend_config *config,
                     const unreel_log *log)
{
    return cpu_open_as(backend, config, log, &(struct cpu_choice){0});
}

const struct backend_module backend_cpu = {
    .abi = BACKEND_ABI,
    .name = "cpu",
    .open = open_best,
};
