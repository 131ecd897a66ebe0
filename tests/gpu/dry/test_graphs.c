/* cuDNN's own opinion of our graphs, without a device: every kind of convolution and attention that the models
 * ask for is built for described GPUs of three generations and must be accepted, and an engine proposed;
 * attention, whose engines are compiled at run time, is also compiled. Skipped where cuDNN is not installed. */
#include "described.h"
#include "dnn_graph.h"
#include "test.h"

static bool compiles(const struct dnn_api *api, void *config, void *properties)
{
    void *plan = NULL;
    bool good = !api->cudnnBackendCreateDescriptor(DNN_PLAN, &plan) &&
                !api->cudnnBackendSetAttribute(plan, DNN_PLAN_ENGINE_CONFIG, DNN_TYPE_DESCRIPTOR, 1, &config) &&
                !api->cudnnBackendSetAttribute(plan, DNN_PLAN_DEVICEPROP, DNN_TYPE_DESCRIPTOR, 1, &properties) &&
                !api->cudnnBackendFinalize(plan);
    if (plan)
        api->cudnnBackendDestroyDescriptor(plan);
    return good;
}

/* How many are proposed, and whether the first can be compiled, if `compile`. */
static int engines(const struct dnn_graph *graph, void *properties, bool compile)
{
    void *config[16];
    int count = dnn_graph_engines(graph, properties, 8, 8, config);
    if (compile && count)
        CHECK(compiles(graph->api, config[0], properties));
    for (int i = 0; i < count; i++)
        graph->api->cudnnBackendDestroyDescriptor(config[i]);
    return count;
}

struct example {
    const char *name;
    int64_t t, h, w, ci, co, kt, kh, kw;
    int64_t stride, before, after;
    int phase; /* 1 + phase of a blown-up picture, or 0 */
    bool relu, add;
};

/* Of the Wan VAE and TAEHV at 832x480. */
static const struct example examples[] = {
    {"vae first", 3, 60, 104, 16, 384, 3, 3, 3, 1, 1, 1, 0, false, false},
    {"vae middle", 3, 60, 104, 384, 384, 3, 3, 3, 1, 1, 1, 0, false, false},
    {"vae last stage, added", 6, 480, 832, 96, 96, 3, 3, 3, 1, 1, 1, 0, false, true},
    {"vae time", 3, 60, 104, 384, 384, 3, 1, 1, 1, 0, 0, 0, false, false},
    {"vae phase 0", 4, 240, 416, 192, 96, 1, 2, 2, 1, 1, 0, 1, false, false},
    {"vae phase 3", 4, 240, 416, 192, 96, 1, 2, 2, 1, 0, 1, 4, false, false},
    {"vae head", 6, 480, 832, 96, 3, 3, 3, 3, 1, 1, 1, 0, false, false},
    {"vae encoder, halved", 4, 480, 832, 96, 96, 1, 3, 3, 2, 0, 1, 0, false, false},
    {"taehv, relu", 4, 240, 416, 64, 64, 1, 3, 3, 1, 1, 1, 0, true, false},
    {"taehv, added, relu", 4, 240, 416, 64, 64, 1, 3, 3, 1, 1, 1, 0, true, true},
};

static void shape(const struct example *e, struct dnn_conv_shape *s)
{
    int64_t h = (e->h + e->before + e->after - e->kh) / e->stride + 1;
    int64_t w = (e->w + e->before + e->after - e->kw) / e->stride + 1;
    int64_t up = e->phase ? 2 : 1;
    *s = (struct dnn_conv_shape){
        .x = {e->t, e->h, e->w, e->ci},
        .x_stride = {e->h * e->w * e->ci, e->w * e->ci, e->ci},
        .y = {e->t - e->kt + 1, h, w, e->co},
        .y_stride = {up * up * h * w * e->co, up * up * w * e->co, up * e->co},
        .z_stride = {h * w * e->co, w * e->co, e->co},
        .kernel = {e->kt, e->kh, e->kw},
        .stride = {1, e->stride, e->stride},
        .pad_before = {0, e->before, e->before},
        .pad_after = {0, e->after, e->after},
        .alignment = {16, 16, 16, 16},
        .relu = e->relu,
        .add = e->add,
    };
}

enum form { WHOLE, HELD, COMPOSED, FORMS };

static void test_attention(const struct dnn_api *api, const struct described_gpu *gpu, void *properties, int which,
                           enum form form)
{
    static const char *const names[] = {"", ", lengths", ", composed"};
    static const int64_t sizes[][4] = {
        {12, 128, 4680, 32760}, {12, 128, 4680, 512}, {1, 384, 6240, 6240}};
    const int64_t *n = sizes[which], row = n[0] * n[1];
    const struct dnn_attention_shape s = {n[0],
                                          n[1],
                                          n[2],
                                          n[3],
                                          .stride = {3 * row, row, row, row},
                                          .head_stride = {n[1], n[1], n[1], n[1]},
                                          .held = form == HELD,
                                          .composed = form == COMPOSED};
    size_t version = api->cudnnGetVersion();
    if (form == HELD && version < 91500)
        return;
    if (form == WHOLE && version < 91301)
        return;
    if (form == COMPOSED && n[1] > 128 && version < 91301) /* nor does the VAE ask for it later */
        return;
    struct dnn_graph graph;
    dnn_build_attention(&graph, api, NULL, &s);
    CHECK_MSG(graph.graph, "%s: attention %d%s refused: %s", gpu->name, which, names[form],
              api->cudnnGetErrorString(graph.status));
    int count = engines(&graph, properties, true);
    printf("%-26s attention %d%-13s %d engines\n", gpu->name, which, names[form], count);
    CHECK_MSG(count > 0, "%s: attention %d%s", gpu->name, which, names[form]);
    dnn_graph_finish(&graph);
}

static void test_gpu(const struct dnn_api *api, const struct described_gpu *gpu)
{
    void *properties = describe_gpu(api, gpu);
    CHECK_MSG(properties, "%s cannot be described", gpu->name);
    if (!properties)
        return;
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
        struct dnn_graph graph;
        struct dnn_conv_shape s;
        shape(&examples[i], &s);
        dnn_build_conv(&graph, api, NULL, &s);
        CHECK_MSG(graph.graph, "%s: %s refused: %s", gpu->name, examples[i].name,
                  api->cudnnGetErrorString(graph.status));
        int count = engines(&graph, properties, false);
        printf("%-26s %-24s %d engines\n", gpu->name, examples[i].name, count);
        CHECK_MSG(count > 0, "%s: %s", gpu->name, examples[i].name);
        dnn_graph_finish(&graph);
    }
    for (int i = 0; i < 3; i++)
        for (enum form form = 0; form < FORMS; form++)
            test_attention(api, gpu, properties, i, form);
    api->cudnnBackendDestroyDescriptor(properties);
}

int main(void)
{
    struct dnn_api api = {0};
    if (!dnn_load(&api, &test_log)) {
        puts("cuDNN is not installed");
        return 77;
    }
    if (api.cudnnGetVersion() < 90800) { /* the first that takes devices as descriptions */
        printf("cuDNN %zu is too old\n", api.cudnnGetVersion());
        return 77;
    }
    for (size_t i = 0; i < sizeof described_gpus / sizeof *described_gpus; i++)
        test_gpu(&api, &described_gpus[i]);
    return test_end();
}
