/* Opening the CUDA backend: driver, device, stream, memory, libraries. */
#include "cuda.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/module.h"
#include "choices.h"
#include "dnn.h"
#include "matmul.h"

/* At 832x480 the VAE takes one latent frame in 2.8 GiB, three in 4.5, or in 12.9 if every convolution
 * has an input of its own. */
#define DECODE_WIDE_BYTES ((size_t)20 << 30)
#define DECODE_APART_BYTES ((size_t)30 << 30)
#define ARCH_MIN 80 /* bf16, and the oldest that kernels are built for */
#define ARCH_FP8 89 /* tensor cores that multiply E4M3 */

bool cuda_check(struct cuda_backend *c, cudaError_t error, const char *what)
{
    if (error == cudaSuccess)
        return true;
    cudaGetLastError(); /* is reported once */
    backend_fail(&c->base, error == cudaErrorMemoryAllocation ? UNREEL_ENOMEM : UNREEL_EDEVICE,
                 "%s: %s", what, cudaGetErrorString(error));
    return false;
}

static void cuda_sync(struct backend *b)
{
    struct cuda_backend *c = cuda_of(b);
    if (cuda_recording_allows(c, "it is to be waited for"))
        cuda_check(c, cudaStreamSynchronize(c->stream), "synchronize");
}

void cuda_enter(struct backend *b)
{
    struct cuda_backend *c = cuda_of(b);
    cudaGetDevice(&c->outer);
    cudaSetDevice(0);
}

void cuda_leave(struct backend *b)
{
    cudaSetDevice(cuda_of(b)->outer);
}

static void cuda_close(struct backend *b)
{
    struct cuda_backend *c = cuda_of(b);
    if (c->stream) {
        cuda_enter(b);
        cudaStreamSynchronize(c->stream);
    }
    dnn_close(c, c->dnn);
    matmul_close(c->matmul);
    choices_close(c->choices);
    if (c->stream) {
        cuda_stopwatch_close(c);
        cuda_memory_close(c);
        cudaStreamDestroy(c->stream);
        cuda_leave(b);
    }
    cudaGetLastError();
    free(c);
}

static const struct backend_ops ops = {
    .name = "cuda",
    .close = cuda_close,
    .alloc = cuda_alloc,
    .free = cuda_free,
    .upload = cuda_upload,
    .download = cuda_download,
    .sync = cuda_sync,
    .linear_init = cuda_linear_init,
    .linear_finish = cuda_linear_finish,
    .conv_init = cuda_conv_init,
    .conv_finish = cuda_conv_finish,
    .copy = cuda_copy,
    .activate = cuda_activate,
    .linear = cuda_linear,
    .conv = cuda_conv,
    .attention = cuda_attention,
    .rms_norm = cuda_rms_norm,
    .quantise = cuda_quantise,
    .layer_norm = cuda_layer_norm,
    .rope = cuda_rope,
    .add_gated = cuda_add_gated,
    .mul = cuda_mul,
    .combine = cuda_combine,
    .picture = cuda_picture,
    .pictures = cuda_pictures,
    .rope_table = cuda_rope_table,
    .sinusoid = cuda_sinusoid,
    .noise = cuda_noise,
    .conv_add = cuda_conv_add,
    .rms_norm_rope = cuda_rms_norm_rope,
    .attention_held = cuda_attention_held,
    .add_gated_layer_norm = cuda_add_gated_layer_norm,
    .store_qkv = cuda_store_qkv,
    .record_begin = cuda_record_begin,
    .record_end = cuda_record_end,
    .record_run = cuda_record_run,
    .record_free = cuda_record_free,
    .enter = cuda_enter,
    .leave = cuda_leave,
    .range_begin = cuda_range_begin,
    .range_end = cuda_range_end,
    .peak = cuda_peak,
    .memory = cuda_memory_info,
};

/* Logs why CUDA is not used: an error if it was asked for. */
static int unusable(const struct backend_config *config, const unreel_log *log, const char *why)
{
    if (strcmp(config->device, "auto"))
        return log_error(log, UNREEL_EUNSUPPORTED, "device cuda: %s", why);
    log_info(log, "cuda: %s; using the CPU", why);
    return UNREEL_EUNSUPPORTED;
}

/* 0 if there is a device that can be used. */
static int probe(const struct backend_config *config, const unreel_log *log)
{
    int driver = 0, devices = 0;
    if (cudaDriverGetVersion(&driver) || !driver) {
        cudaGetLastError();
        return unusable(config, log, "no NVIDIA driver (libcuda.so.1)");
    }
    cudaError_t error = cudaGetDeviceCount(&devices);
    if (error) {
        cudaGetLastError();
        return unusable(config, log, cudaGetErrorString(error));
    }
    return devices ? 0 : unusable(config, log, "no NVIDIA GPU");
}

static int describe_device(struct cuda_backend *c, const struct backend_config *config,
                           const unreel_log *log)
{
    struct cudaDeviceProp properties;
    int driver = 0, runtime = 0;
    if (cudaGetDeviceProperties(&properties, 0) || cudaDriverGetVersion(&driver) ||
        cudaRuntimeGetVersion(&runtime)) {
        cudaGetLastError();
        return unusable(config, log, "the device does not answer");
    }
    c->arch = 10 * properties.major + properties.minor;
    snprintf(c->device, sizeof c->device, "%s, sm_%d, driver %d, runtime %d", properties.name,
             c->arch, driver, runtime);
    return c->arch < ARCH_MIN ? unusable(config, log, "the GPU is older than Ampere (sm_80)") : 0;
}

static int choose_type(struct cuda_backend *c, const struct backend_config *config)
{
    struct backend *b = &c->base;
    const char *dtype = config->dtype;
    b->fp8 = !strcmp(dtype, "fp8");
    if (b->fp8 && c->arch < ARCH_FP8)
        return unusable(config, &b->log,
                        "dtype fp8 needs a GPU of compute capability 8.9 (Ada) or later");
    if (b->fp8 || !strcmp(dtype, "auto") || !strcmp(dtype, "bf16"))
        b->compute = TENSOR_BF16;
    else if (!strcmp(dtype, "f32"))
        b->compute = TENSOR_F32;
    else
        return log_error(&b->log, UNREEL_EINVAL, "dtype %s: not one of auto, f32, bf16, fp8",
                         dtype);
    b->round_bias = b->compute == TENSOR_BF16;
    return 0;
}

/* Which parts are wanted. */
static int read_without(bool *wanted, const char *list, const unreel_log *log)
{
    static const char *const names[] = {
        [PART_GRAPHS] = "graphs",
        [PART_FUSED] = "fused",
        [PART_BESIDE] = "beside",
        [PART_LENGTHS] = "lengths",
        [PART_DNN] = "cudnn",
        [PART_LT] = "cublaslt",
    };
    for (int i = 0; i < PARTS; i++)
        wanted[i] = true;
    for (size_t length; list && *list; list += length + (list[length] == ',')) {
        int part = 0;
        length = strcspn(list, ",");
        while (part < PARTS &&
               (strlen(names[part]) != length || strncmp(names[part], list, length)))
            part++;
        if (part == PARTS)
            return log_error(log, UNREEL_EINVAL,
                             "device_without: %.*s: not one of graphs, fused, beside, lengths, "
                             "cudnn, cublaslt",
                             (int)length, list);
        wanted[part] = false;
    }
    return 0;
}

static void leave_out(struct backend_ops *table, const bool *wanted)
{
    if (!wanted[PART_GRAPHS]) {
        table->record_begin = NULL;
        table->record_end = NULL;
        table->record_run = NULL;
        table->record_free = NULL;
    }
    if (!wanted[PART_FUSED]) {
        table->conv_add = NULL;
        table->rms_norm_rope = NULL;
        table->add_gated_layer_norm = NULL;
        table->store_qkv = NULL;
        table->pictures = NULL;
    }
    if (!wanted[PART_LENGTHS])
        table->attention_held = NULL;
}

static int open_device(struct cuda_backend *c, const struct backend_config *config)
{
    bool wanted[PARTS];
    int refused = read_without(wanted, config->without, &c->base.log);
    if (refused < 0)
        return refused;
    leave_out(&c->ops, wanted);
    int least = 0, greatest = 0;
    if (!cuda_check(c, cudaSetDevice(0), "device") || /* which may fail, unlike in cuda_enter() */
        !cuda_check(c, cudaDeviceGetStreamPriorityRange(&least, &greatest), "stream") ||
        !cuda_check(c,
                    cudaStreamCreateWithPriority(&c->stream, cudaStreamNonBlocking,
                                                 config->beside ? greatest : least),
                    "stream"))
        return c->base.status;
    int code = cuda_memory_open(c);
    if (code == 0)
        code = cuda_stopwatch_open(c);
    if (code < 0)
        return code;
    size_t free = 0, total = 0;
    if (!cuda_check(c, cudaMemGetInfo(&free, &total), "memory"))
        return c->base.status;
    c->base.decode_frames = total >= DECODE_WIDE_BYTES ? 3 : 1;
    c->base.decode_apart = total >= DECODE_APART_BYTES;
    c->base.beside = wanted[PART_BESIDE] && total >= DECODE_WIDE_BYTES;
    if (config->cache)
        c->choices = choices_open(config->cache, &c->base.log);
    if (wanted[PART_LT])
        matmul_open(c);
    if (wanted[PART_DNN])
        dnn_open(c);
    return 0;
}

static int cuda_open(struct backend **backend, const struct backend_config *config,
                     const unreel_log *log)
{
    *backend = NULL;
    int code = probe(config, log);
    if (code < 0)
        return code;
    struct cuda_backend *c = calloc(1, sizeof *c);
    if (!c)
        return log_error(log, UNREEL_ENOMEM, "cuda: out of memory");
    c->ops = ops;
    c->base.ops = &c->ops;
    if (log)
        c->base.log = *log;
    c->base.threads = 1;
    code = describe_device(c, config, log);
    if (code == 0)
        code = choose_type(c, config);
    if (code == 0) { /* not before: to make a device current takes memory on it, also where it is of no use */
        cudaGetDevice(&c->outer);
        code = open_device(c, config);
        cuda_leave(&c->base);
    }
    if (code < 0) {
        cuda_close(&c->base);
        return code;
    }
    if (!config->beside)
        log_info(log, "cuda: %s", c->device);
    *backend = &c->base;
    return 0;
}

__attribute__((visibility("default"))) const struct backend_module backend_cuda = {
    .abi = BACKEND_ABI,
    .name = "cuda",
    .open = cuda_open,
};
