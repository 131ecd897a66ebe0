#include "ops.h"

#include "cpu/cpu.h"

#define SENTINEL 1234.0f /* of surroundings; exact as bf16 is 1232, see ops_round */
#define PAD_BEFORE 3
#define PAD_AFTER 2
#define BLOCKS 4096

static struct ops_options options = {.seed = 20240607};
static uint64_t state;
static void *blocks[BLOCKS];
static int block_count;

void ops_options(int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--seed"))
            options.seed = strtoull(argv[i + 1], NULL, 0);
        else if (!strcmp(argv[i], "--device"))
            options.device = argv[i + 1];
        else if (!strcmp(argv[i], "--module"))
            options.module = argv[i + 1];
        else if (!strcmp(argv[i], "--emulated"))
            options.module = options.emulated = argv[i + 1];
    }
    printf("seed %llu\n", (unsigned long long)options.seed);
}

const char *fill_name(enum fill fill)
{
    static const char *const names[] = {"normal",   "large", "tiny", "zero",
                                        "denormal", "equal", "mixed"};
    return names[fill];
}

/* splitmix64 */
uint64_t ops_random(void)
{
    uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

double ops_uniform(double low, double high)
{
    return low + (high - low) * ((double)(ops_random() >> 11) * 0x1p-53);
}

int64_t ops_between(int64_t low, int64_t high)
{
    return low + (int64_t)(ops_random() % (uint64_t)(high - low + 1));
}

double ops_unit(enum tensor_type type)
{
    return type == TENSOR_F32 ? 0x1p-24 : 0x1p-8;
}

double ops_round(double x, enum tensor_type type)
{
    if (type == TENSOR_F32 || x == 0 || !isfinite(x))
        return (double)(float)x;
    int exponent, digits = 8;
    frexp(x, &exponent); /* in [0.5, 1) 2^exponent */
    if (exponent < -125)
        exponent = -125; /* denormals have fewer digits */
    double unit = ldexp(1, exponent - digits);
    double y = nearbyint(x / unit) * unit;
    return fabs(y) > 0x1.fep127 ? copysign(INFINITY, x) : y;
}

/* References spend most of a test here: sanitizers see its callers and the ends of what it reads. */
__attribute__((no_sanitize("address", "undefined"))) static double
dot(const double *a, int64_t step_a, const double *b, int64_t step_b, int64_t count, double *size)
{
    double sum[4] = {0}, part[4], magnitude[4] = {0};
    for (int64_t i = 0; i < count; i += 4) {
        for (int64_t j = 0; j < 4; j++) {
            part[j] = i + j < count ? a[(i + j) * step_a] * b[(i + j) * step_b] : 0;
            sum[j] += part[j];
            magnitude[j] += fabs(part[j]);
        }
    }
    *size += magnitude[0] + magnitude[1] + magnitude[2] + magnitude[3];
    return sum[0] + sum[1] + sum[2] + sum[3];
}

double ops_dot(const double *a, int64_t step_a, const double *b, int64_t step_b, int64_t count, double *size)
{
    if (count < 1)
        return 0;
    const volatile double *last[] = {a + (count - 1) * step_a, b + (count - 1) * step_b};
    (void)*last[0], (void)*last[1];
    return dot(a, step_a, b, step_b, count, size);
}

double ops_value(enum fill fill, double large)
{
    double sign = ops_random() & 1 ? 1 : -1;
    switch (fill) {
    case FILL_NORMAL: /* sum of 4 uniform: variance 1 */
        return 0.8660254 *
               (ops_uniform(-1, 1) + ops_uniform(-1, 1) + ops_uniform(-1, 1) + ops_uniform(-1, 1));
    case FILL_LARGE:
        return sign * ops_uniform(large / 2, large);
    case FILL_TINY:
        return sign * ops_uniform(1e-20, 1e-18);
    case FILL_DENORMAL:
        return sign * ops_uniform(1e-40, 1e-38);
    case FILL_EQUAL:
        return 0.7109375;
    case FILL_MIXED:
        return sign * fmin(large, pow(10, ops_uniform(-6, 6)));
    default:
        return 0;
    }
}

void *ops_memory(struct ops *ops, size_t bytes)
{
    void *block = calloc(1, bytes ? bytes : 1);
    if (!block || block_count == BLOCKS) {
        printf("out of memory\n");
        exit(1);
    }
    return blocks[block_count++] = block;
}

double *ops_doubles(struct ops *ops, int64_t count)
{
    return ops_memory(ops, (size_t)count * sizeof(double));
}

void ops_free(struct ops *ops)
{
    while (block_count)
        free(blocks[--block_count]);
    arena_finish(&ops->arena);
    arena_init(&ops->arena, ops->b);
}

/* Offset in base of element i of the view. */
static int64_t offset_of(const struct ops_tensor *t, int64_t i)
{
    int64_t at = ((char *)t->t.data - (char *)t->base.data) / (int64_t)tensor_type_size(t->t.type);
    for (int d = t->t.dims - 1; d >= 0; i /= t->t.shape[d--])
        at += i % t->t.shape[d] * t->t.stride[d];
    return at;
}

static struct ops_tensor lay_out(struct ops *ops, enum tensor_type type, enum layout layout,
                                 int dims, const int64_t *shape)
{
    struct ops_tensor r = {.count = 1};
    for (int i = 0; i < dims; i++)
        r.count *= shape[i];
    int64_t inner = layout == LAYOUT_ROWS ? shape[dims - 1] : r.count / shape[0];
    int64_t outer = r.count / inner;
    if (layout == LAYOUT_DENSE) {
        r.t = r.base = arena_tensor(&ops->arena, type, SHAPE(r.count));
    } else {
        r.base = arena_tensor(&ops->arena, type, SHAPE(outer, PAD_BEFORE + inner + PAD_AFTER));
        r.t = tensor_slice(r.base, 1, PAD_BEFORE, inner);
    }
    r.t = tensor_reshape(r.t, dims, shape);
    r.value = ops_doubles(ops, r.count);
    r.inside = ops_memory(ops, (size_t)tensor_count(&r.base));
    r.offset = ops_memory(ops, (size_t)r.count * sizeof *r.offset);
    for (int64_t i = 0; i < r.count; i++)
        r.inside[r.offset[i] = offset_of(&r, i)] = true;
    return r;
}

void ops_set(struct ops *ops, struct ops_tensor *t, const double *value)
{
    int64_t count = tensor_count(&t->base);
    float *host = ops_memory(ops, (size_t)count * sizeof *host);
    for (int64_t i = 0; i < count; i++)
        host[i] = (float)ops_round(SENTINEL, t->t.type);
    for (int64_t i = 0; i < t->count; i++)
        host[t->offset[i]] = (float)(t->value[i] = ops_round(value[i], t->t.type));
    backend_upload(ops->b, t->base, tensor_make(host, TENSOR_F32, t->base.dims, t->base.shape));
}

struct ops_tensor ops_make(struct ops *ops, enum tensor_type type, enum layout layout,
                           enum fill fill, double large, int dims, const int64_t *shape)
{
    struct ops_tensor t = lay_out(ops, type, layout, dims, shape);
    for (int64_t i = 0; i < t.count; i++)
        t.value[i] = ops_value(fill, large);
    ops_set(ops, &t, t.value);
    return t;
}

struct ops_tensor ops_output(struct ops *ops, enum tensor_type type, enum layout layout, int dims,
                             const int64_t *shape)
{
    return ops_make(ops, type, layout, FILL_NORMAL, 1, dims, shape);
}

const double *ops_read(struct ops *ops, const struct ops_tensor *t)
{
    int64_t count = tensor_count(&t->base), touched = 0;
    float *host = ops_memory(ops, (size_t)count * sizeof *host);
    double *value = ops_doubles(ops, t->count);
    backend_download(ops->b, tensor_make(host, TENSOR_F32, t->base.dims, t->base.shape), t->base);
    for (int64_t i = 0; i < count; i++)
        touched += !t->inside[i] && (double)host[i] != ops_round(SENTINEL, t->t.type);
    if (touched)
        CHECK_MSG(!touched, "%s: %lld elements around the result were touched", ops->name,
                  (long long)touched);
    for (int64_t i = 0; i < t->count; i++)
        value[i] = (double)host[t->offset[i]];
    return value;
}

void ops_compare(struct ops *ops, const char *what, const struct ops_tensor *y, const double *want,
                 const double *tolerance)
{
    const double *got = ops_read(ops, y);
    int64_t bad = 0, worst = 0;
    double ratio = 0;
    for (int64_t i = 0; i < y->count; i++) {
        /* 1e-38: results that are denormal may be flushed */
        double error = fabs(got[i] - want[i]), limit = tolerance[i] + 1.2e-38;
        bool good = isnan(want[i]) ? isnan(got[i]) : got[i] == want[i] || error <= limit;
        if (good)
            continue;
        bad++;
        double r = isnan(error) ? INFINITY : error / limit;
        if (r >= ratio) {
            ratio = r;
            worst = i;
        }
    }
    CHECK_MSG(!bad && !ops->b->status,
              "%s: %s: %lld of %lld wrong, worst [%lld] = %.9g, not %.9g +- %.3g; status %d",
              ops->name, what, (long long)bad, (long long)y->count, (long long)worst, got[worst],
              want[worst], tolerance[worst], ops->b->status);
}

void ops_compare_exact(struct ops *ops, const char *what, const struct ops_tensor *y,
                       const double *want)
{
    const double *got = ops_read(ops, y);
    int64_t bad = 0, last = 0;
    for (int64_t i = 0; i < y->count; i++) {
        if (got[i] == want[i] || (isnan(got[i]) && isnan(want[i])))
            continue;
        bad++;
        last = i;
    }
    CHECK_MSG(!bad && !ops->b->status, "%s: %s: %lld of %lld wrong, [%lld] = %.9g, not %.9g",
              ops->name, what, (long long)bad, (long long)y->count, (long long)last, got[last],
              want[last]);
}

static void run_one(const char *what, struct backend *b, const char *name,
                    void (*test)(struct ops *))
{
    struct ops ops = {.b = b};
    snprintf(ops.name, sizeof ops.name, "%s: %s", what, name);
    state = options.seed;
    arena_init(&ops.arena, b);
    test(&ops);
    ops_free(&ops);
    arena_finish(&ops.arena);
    CHECK(b->bytes == 0);
    backend_close(b);
}

static void run_cpu(const char *what, enum cpu_isa isa, const char *heavy,
                    void (*test)(struct ops *))
{
    static const struct {
        const char *name;
        int bf16, threads; /* bf16: 1 computed, -1 only rounded */
        int widens;        /* bf16 is computed 1: as f32, -1: by instructions for it */
    } modes[] = {{"f32", 0, 1},
                 {"f32", 0, 2},
                 {"f32", 0, 5},
                 {"bf16", 1, 1, -1},
                 {"bf16", 1, 5, -1},
                 {"bf16 widened", 1, 1, 1},
                 {"bf16 widened", 1, 5, 1},
                 {"bf16 rounded", -1, 2}};
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        struct backend *b;
        struct backend_config config = {"cpu", modes[i].bf16 ? "bf16" : "f32", modes[i].threads};
        struct cpu_choice choice = {true, isa, heavy, modes[i].bf16, modes[i].widens};
        char name[96];
        if (cpu_open_as(&b, &config, &test_log, &choice) < 0)
            continue;
        snprintf(name, sizeof name, "%s %s %s, %d threads", cpu_isa_name(isa), heavy, modes[i].name,
                 modes[i].threads);
        run_one(what, b, name, test);
    }
}

/* A device's messages say which libraries it does without. Stand-ins for them do everything: what they refuse
 * would be right by the plain kernels, and would show nowhere. */
static void print_message(void *opaque, int level, const char *message)
{
    if (level <= UNREEL_LOG_INFO)
        printf("%s\n", message);
    if (options.emulated)
        CHECK_MSG(!strstr(message, "cuDNN has nothing for"), "%s", message);
    test_log_write(opaque, level, message);
}

static void run_device(const char *what, const char *dtype, void (*test)(struct ops *))
{
    const unreel_log log = {.write = print_message};
    struct backend *b;
    struct backend_config config = {
        .device = options.device, .dtype = dtype, .module = options.module};
    if (backend_open(&b, &config, &log) < 0)
        exit(options.emulated ? 1 : 77);
    char name[96];
    snprintf(name, sizeof name, "%s %s", options.device, dtype);
    run_one(what, b, name, test);
}

void ops_run(const char *what, bool heavy, void (*test)(struct ops *))
{
    if (!options.device) {
        for (enum cpu_isa isa = 0; isa < CPU_ISAS; isa++)
            for (int i = 0; cpu_heavies[i]; i++)
                if (heavy || !cpu_heavies[i + 1]) /* else any, so the last, which is always there */
                    run_cpu(what, isa, cpu_heavies[i]->name, test);
        return;
    }
    run_device(what, "f32", test);
    run_device(what, "bf16", test);
}

void ops_run_fp8(const char *what, void (*test)(struct ops *))
{
    run_device(what, "fp8", test);
}
