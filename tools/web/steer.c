#include "steer.h"

#include <libsoup/soup.h>

#include "web/http.h"

void steer_init(struct steer *steer, struct live *live)
{
    *steer = (struct steer){.live = live};
}

void steer_finish(struct steer *steer)
{
    g_clear_pointer(&steer->name, g_free);
    steer->holder = NULL;
}

const void *steer_holder(const struct steer *steer)
{
    return steer->holder && g_get_monotonic_time() < steer->until ? steer->holder : NULL;
}

void steer_release(struct steer *steer, const void *owner)
{
    if (steer->holder == owner)
        steer_finish(steer);
}

static void hold(struct steer *steer, const void *owner, const char *who)
{
    if (steer->holder != owner) {
        g_free(steer->name);
        steer->name = g_strdup(who);
        steer->holder = owner;
    }
    steer->until = g_get_monotonic_time() + STEER_IDLE_SECONDS * G_USEC_PER_SEC;
}

struct outcome steer_refusal(unsigned status, const char *error)
{
    struct outcome outcome = {status, g_string_new(", \"error\": ")};
    json_quote(outcome.json, error);
    return outcome;
}

static struct outcome change(int64_t number)
{
    if (number == UNREEL_EAGAIN)
        return steer_refusal(SOUP_STATUS_SERVICE_UNAVAILABLE, "the session does not run now");
    if (number < 0)
        return steer_refusal(number == UNREEL_EINVAL ? SOUP_STATUS_BAD_REQUEST
                                                     : SOUP_STATUS_INTERNAL_SERVER_ERROR,
                             unreel_error_text((int)number));
    struct outcome outcome = {SOUP_STATUS_OK, g_string_new(NULL)};
    g_string_printf(outcome.json, ", \"change\": %" G_GINT64_FORMAT, (gint64)number);
    return outcome;
}

static struct outcome done(void)
{
    return (struct outcome){SOUP_STATUS_OK, g_string_new(NULL)};
}

static struct outcome perform(struct live *live, const char *who, const struct request *request)
{
    switch (request->kind) {
    case REQUEST_PROMPT:
        return change(live_prompt(live, who, request->prompt, request->how));
    case REQUEST_SEED:
        return change(live_seed(live, who, request->seed));
    case REQUEST_RESET:
        return change(live_reset(live, who));
    case REQUEST_PAUSE:
        live_pause(live, who, request->on);
        return done();
    default:
        return done();
    }
}

struct outcome steer_apply(struct steer *steer, const void *owner, const char *who, bool keep,
                           const struct request *request)
{
    if (request->kind == REQUEST_RELEASE) {
        steer_release(steer, owner);
        return done();
    }
    const void *holder = steer_holder(steer);
    bool takes = request->kind == REQUEST_CLAIM && request->on;
    if (holder && holder != owner && !takes) {
        char *text = g_strdup_printf("%s steers now", steer->name);
        struct outcome outcome = steer_refusal(SOUP_STATUS_CONFLICT, text);
        g_free(text);
        return outcome;
    }
    if (keep)
        hold(steer, owner, who);
    return perform(steer->live, who, request);
}

/* ---- files ----------------------------------------------------------------------------------- */

struct file_task {
    struct live *live;
    char *path;
    bool on;
};

static void free_task(gpointer data)
{
    struct file_task *task = data;
    g_free(task->path);
    g_free(task);
}

static GTask *make_task(struct steer *steer, const char *path, bool on, GAsyncReadyCallback ready,
                        gpointer data)
{
    struct file_task *what = g_new(struct file_task, 1);
    *what = (struct file_task){steer->live, g_strdup(path), on};
    GTask *task = g_task_new(NULL, NULL, ready, data);
    g_task_set_task_data(task, what, free_task);
    steer->files++;
    return task;
}

static gpointer end_task(struct steer *steer, GAsyncResult *result)
{
    steer->files--;
    return g_task_propagate_pointer(G_TASK(result), NULL);
}

static void write_snapshot(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
    struct file_task *what = data;
    g_task_return_pointer(task, live_snapshot(what->live, what->path), g_free);
}

void steer_snapshot_async(struct steer *steer, const char *path, GAsyncReadyCallback ready,
                          gpointer data)
{
    GTask *task = make_task(steer, path, false, ready, data);
    g_task_run_in_thread(task, write_snapshot);
    g_object_unref(task);
}

char *steer_snapshot_finish(struct steer *steer, GAsyncResult *result)
{
    return end_task(steer, result);
}

static struct outcome record(struct live *live, bool on)
{
    int code = on ? 0 : live_record_stop(live);
    if (code == LIVE_EBROKEN)
        return steer_refusal(SOUP_STATUS_INTERNAL_SERVER_ERROR,
                             "the recording is not whole, see the server's messages");
    if (code < 0)
        return steer_refusal(SOUP_STATUS_CONFLICT, "nothing is being recorded");
    if (!on)
        return done();
    char *file = live_record_start(live);
    if (!file)
        return steer_refusal(SOUP_STATUS_INTERNAL_SERVER_ERROR,
                             "the recording does not start, see the server's messages");
    struct outcome outcome = {SOUP_STATUS_OK, g_string_new(", \"file\": ")};
    json_quote(outcome.json, file);
    g_free(file);
    return outcome;
}

static void write_recording(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
    struct file_task *what = data;
    struct outcome *outcome = g_new(struct outcome, 1);
    *outcome = record(what->live, what->on);
    g_task_return_pointer(task, outcome, NULL);
}

void steer_record_async(struct steer *steer, bool on, GAsyncReadyCallback ready, gpointer data)
{
    GTask *task = make_task(steer, NULL, on, ready, data);
    g_queue_push_tail(&steer->recordings, task);
    if (steer->recordings.length == 1)
        g_task_run_in_thread(task, write_recording);
}

struct outcome steer_record_finish(struct steer *steer, GAsyncResult *result)
{
    struct outcome *written = end_task(steer, result), outcome = *written;
    g_free(written);
    g_object_unref(g_queue_pop_head(&steer->recordings));
    GTask *next = g_queue_peek_head(&steer->recordings);
    if (next)
        g_task_run_in_thread(next, write_recording);
    return outcome;
}
