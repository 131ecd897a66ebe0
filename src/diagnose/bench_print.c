/* What unreel_bench measured, as a table and as JSON. */
#include <stdarg.h>
#include <stdio.h>

#include "diagnose/bench.h"

struct printer {
    unreel_line_fn line;
    void *opaque;
};

static void print(const struct printer *p, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void print(const struct printer *p, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    p->line(p->opaque, text);
}

static double share(double flops, double seconds, double peak)
{
    return peak > 0 && seconds > 0 ? 100 * flops / seconds / peak : 0;
}

static void print_stage(const struct printer *p, const struct bench *bench,
                        const struct bench_stage *s)
{
    print(p, "%s: %s", s->name, s->what);
    print(
        p,
        "  p50 %.2f ms, best %.2f, p99 %.2f of %d; %.1f GFLOP, best %.1f GFLOP/s, %.1f %% of peak",
        1e3 * s->seconds, 1e3 * s->best, 1e3 * s->p99, s->runs, 1e-9 * s->flops,
        1e-9 * s->flops / s->best, share(s->flops, s->best, bench->peak));
    double total = 0;
    for (int i = 0; i < OP_KINDS; i++)
        total += s->profile.seconds[i];
    for (int i = 0; i < OP_KINDS; i++) {
        if (!s->profile.calls[i])
            continue;
        double seconds = s->profile.seconds[i], flops = s->profile.flops[i];
        if (flops > 0)
            print(p, "  %-16s %9.2f ms  %5.1f %%  %6lld calls  %7.1f GFLOP/s  %5.1f %% of peak",
                  op_kind_name((enum op_kind)i), 1e3 * seconds, 100 * seconds / total,
                  (long long)s->profile.calls[i], 1e-9 * flops / seconds,
                  share(flops, seconds, bench->peak));
        else
            print(p, "  %-16s %9.2f ms  %5.1f %%  %6lld calls", op_kind_name((enum op_kind)i),
                  1e3 * seconds, 100 * seconds / total, (long long)s->profile.calls[i]);
    }
}

static const char *const part_names[STREAM_PARTS] = {
    "denoise", "cache forward", "vae decode", "vae pictures", "light decode", "light pictures"};

/* Pictures a second without decoding, with the full VAE, with the light decoder. */
static void rates(const struct bench_stream *s, double rate[3])
{
    const double *m = s->mean;
    double made = m[STREAM_DENOISE] + m[STREAM_CACHE];
    rate[0] = s->pictures / made;
    rate[1] = s->pictures / (made + m[STREAM_VAE] + m[STREAM_VAE_PICTURES]);
    rate[2] = s->pictures / (made + m[STREAM_LIGHT] + m[STREAM_LIGHT_PICTURES]);
}

static void print_operations(const struct printer *p, const struct bench *bench, const char *of,
                             const struct op_profile *profile)
{
    double total = 0;
    for (int i = 0; i < OP_KINDS; i++)
        total += profile->seconds[i];
    for (int i = 0; i < OP_KINDS; i++)
        if (profile->calls[i])
            print(p,
                  "    %s by operation: %-11s %9.2f ms  %5.1f %%  %6lld calls  %7.1f GFLOP/s  "
                  "%5.1f %% of peak",
                  of, op_kind_name((enum op_kind)i), 1e3 * profile->seconds[i],
                  100 * profile->seconds[i] / total, (long long)profile->calls[i],
                  1e-9 * profile->flops[i] / profile->seconds[i],
                  share(profile->flops[i], profile->seconds[i], bench->peak));
}

static void print_stream(const struct printer *p, const struct bench *bench)
{
    const struct bench_stream *s = &bench->stream;
    double rate[3], made = s->mean[STREAM_DENOISE] + s->mean[STREAM_CACHE];
    rates(s, rate);
    print(p, "stream: %d chunks of %d pictures, %d steps, window of %d latent frames full",
          s->chunks, s->pictures, s->steps, bench->window);
    for (int i = 0; i < STREAM_PARTS; i++)
        print(p, "  %-15s p50 %9.2f ms, p99 %9.2f, mean %9.2f", part_names[i], 1e3 * s->p50[i],
              1e3 * s->p99[i], 1e3 * s->mean[i]);
    print(p,
          "  a denoising step %.2f ms; transformer %.1f GFLOP/s (%.1f %% of peak), vae %.1f (%.1f "
          "%%), "
          "light decoder %.1f (%.1f %%)",
          1e3 * s->mean[STREAM_DENOISE] / s->steps, 1e-9 * s->flops_transformer / made,
          share(s->flops_transformer, made, bench->peak), 1e-9 * s->flops_vae / s->mean[STREAM_VAE],
          share(s->flops_vae, s->mean[STREAM_VAE], bench->peak),
          1e-9 * s->flops_light / s->mean[STREAM_LIGHT],
          share(s->flops_light, s->mean[STREAM_LIGHT], bench->peak));
    print(
        p,
        "  sustained pictures/s: %.2f with the full VAE, %.2f with the light decoder, %.2f without "
        "decoding",
        rate[1], rate[2], rate[0]);
    if (s->rate_beside > 0)
        print(p, "  sustained pictures/s: %.2f with the full VAE beside denoising",
              s->rate_beside);
    print(p,
          "  first picture after the embedding: %.1f ms with the full VAE, %.1f with the light "
          "decoder",
          1e3 * s->first_picture[0], 1e3 * s->first_picture[1]);
    print(p, "  %llu of %llu forwards and %llu of %llu decoder passes replayed%s; warm-up %.1f s",
          (unsigned long long)s->replayed, (unsigned long long)s->forwards,
          (unsigned long long)s->passes_replayed, (unsigned long long)s->passes,
          s->cannot_record ? " (recording failed)" : "", s->seconds_warm_up);
    print_operations(p, bench, "transformer", &s->profile);
    print_operations(p, bench, "vae", &s->profile_vae);
}

/* Elements of a JSON list. */
static void print_operations_json(const struct printer *p, const struct op_profile *profile)
{
    bool first = true;
    for (int i = 0; i < OP_KINDS; i++) {
        if (!profile->calls[i])
            continue;
        print(p, "      %s{\"name\": \"%s\", \"seconds\": %.6g, \"flops\": %.6g, \"calls\": %lld}",
              first ? "" : ", ", op_kind_name((enum op_kind)i), profile->seconds[i],
              profile->flops[i], (long long)profile->calls[i]);
        first = false;
    }
}

static void print_stream_json(const struct printer *p, const struct bench *bench)
{
    const struct bench_stream *s = &bench->stream;
    double rate[3];
    rates(s, rate);
    print(p, "  \"stream\": {\"chunks\": %d, \"pictures\": %d, \"steps\": %d, \"parts\": [",
          s->chunks, s->pictures, s->steps);
    for (int i = 0; i < STREAM_PARTS; i++)
        print(p, "    {\"name\": \"%s\", \"p50\": %.6g, \"p99\": %.6g, \"mean\": %.6g}%s",
              part_names[i], s->p50[i], s->p99[i], s->mean[i], i + 1 < STREAM_PARTS ? "," : "");
    print(p,
          "    ], \"pictures_per_second\": {\"vae\": %.6g, \"light\": %.6g, \"none\": %.6g}, "
          "\"beside\": %.6g,",
          rate[1], rate[2], rate[0], s->rate_beside);
    print(p, "    \"first_picture\": {\"vae\": %.6g, \"light\": %.6g},", s->first_picture[0],
          s->first_picture[1]);
    print(p, "    \"flops\": {\"transformer\": %.6g, \"vae\": %.6g, \"light\": %.6g},",
          s->flops_transformer, s->flops_vae, s->flops_light);
    print(p, "    \"operations_transformer\": [");
    print_operations_json(p, &s->profile);
    print(p, "    ], \"operations_vae\": [");
    print_operations_json(p, &s->profile_vae);
    print(p, "    ],");
    print(p, "    \"forwards\": %llu, \"replayed\": %llu,", (unsigned long long)s->forwards,
          (unsigned long long)s->replayed);
    print(p, "    \"passes\": %llu, \"passes_replayed\": %llu, \"seconds_warm_up\": %.6g},",
          (unsigned long long)s->passes, (unsigned long long)s->passes_replayed,
          s->seconds_warm_up);
}

void bench_print_table(const struct bench *bench, unreel_line_fn line, void *opaque)
{
    const struct printer p = {line, opaque};
    const struct backend *b = bench->backend;
    print(&p, "%s, %s, %d threads, %s, %dx%d", b->ops->name,
          b->round_bf16 ? "f32 on weights rounded to bf16" : tensor_type_name(backend_quantised(b)),
          b->threads, bench->shape, bench->width, bench->height);
    if (bench->peak > 0)
        print(&p, "measured peak: %.1f GFLOP/s (%s); a 3x3 convolution counts in full where Winograd's algorithm "
                  "has fewer products",
              1e-9 * bench->peak, bench->peak_instruction);
    else
        print(&p, "measured peak: unknown for this backend");
    for (int i = 0; i < bench->stages; i++)
        print_stage(&p, bench, &bench->stage[i]);
    if (bench->stream.chunks)
        print_stream(&p, bench);
    print(&p, "memory: caches %.2f GiB, work %.2f GiB, peak of all allocations %.2f GiB",
          (double)bench->cache_bytes / 0x1p30, (double)bench->work_bytes / 0x1p30,
          (double)b->bytes_peak / 0x1p30);
    if (bench->memory.total)
        print(&p, "device: %s; weights %.2f GiB, scratch %.2f GiB, all of them %.2f of %.2f GiB",
              bench->device, (double)bench->memory.weights / 0x1p30,
              (double)bench->memory.scratch / 0x1p30,
              (double)(bench->memory.total - bench->memory.free) / 0x1p30,
              (double)bench->memory.total / 0x1p30);
    if (bench->resident_peak)
        print(&p,
              "process: files opened in %.2f s, a prompt of 64 tokens in %.1f s; resident %.2f GiB "
              "of "
              "its own and %.2f GiB of file pages, peak of both %.2f GiB",
              bench->seconds_open, bench->seconds_text, (double)bench->resident_anonymous / 0x1p30,
              (double)bench->resident_file / 0x1p30, (double)bench->resident_peak / 0x1p30);
}

void bench_print_json(const struct bench *bench, unreel_line_fn line, void *opaque)
{
    const struct printer p = {line, opaque};
    const struct backend *b = bench->backend;
    print(&p, "{");
    print(&p, "  \"device\": \"%s\", \"type\": \"%s\", \"rounded_to_bf16\": %s, \"threads\": %d,",
          b->ops->name, tensor_type_name(backend_quantised(b)), b->round_bf16 ? "true" : "false",
          b->threads);
    print(&p, "  \"shape\": \"%s\", \"width\": %d, \"height\": %d, \"blocks\": %d, \"window\": %d,",
          bench->shape, bench->width, bench->height, bench->blocks, bench->window);
    print(&p, "  \"peak_flops\": %.6g, \"peak_instruction\": \"%s\",", bench->peak,
          bench->peak_instruction ? bench->peak_instruction : "");
    print(&p, "  \"bytes_cache\": %llu, \"bytes_work\": %llu, \"bytes_peak\": %llu,",
          (unsigned long long)bench->cache_bytes, (unsigned long long)bench->work_bytes,
          (unsigned long long)b->bytes_peak);
    if (bench->memory.total)
        print(&p,
              "  \"device_name\": \"%s\", \"device_bytes\": %llu, \"device_free\": %llu, "
              "\"bytes_weights\": %llu, \"bytes_scratch\": %llu,",
              bench->device, (unsigned long long)bench->memory.total,
              (unsigned long long)bench->memory.free, (unsigned long long)bench->memory.weights,
              (unsigned long long)bench->memory.scratch);
    if (bench->resident_peak)
        print(&p,
              "  \"seconds_open\": %.3g, \"seconds_text\": %.3g, \"resident_anonymous\": %llu, "
              "\"resident_file\": %llu, \"resident_peak\": %llu,",
              bench->seconds_open, bench->seconds_text,
              (unsigned long long)bench->resident_anonymous,
              (unsigned long long)bench->resident_file, (unsigned long long)bench->resident_peak);
    if (bench->stream.chunks)
        print_stream_json(&p, bench);
    print(&p, "  \"stages\": [");
    for (int i = 0; i < bench->stages; i++) {
        const struct bench_stage *s = &bench->stage[i];
        print(&p,
              "    {\"name\": \"%s\", \"what\": \"%s\", \"p50\": %.6g, \"best\": %.6g, \"p99\": "
              "%.6g, \"flops\": %.6g, \"share_of_peak\": %.4g, \"operations\": [",
              s->name, s->what, s->seconds, s->best, s->p99, s->flops,
              share(s->flops, s->best, bench->peak) / 100);
        print_operations_json(&p, &s->profile);
        print(&p, "    ]}%s", i + 1 < bench->stages ? "," : "");
    }
    print(&p, "  ]");
    print(&p, "}");
}
