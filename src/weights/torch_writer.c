#include "weights/torch_writer.h"

#include <stdlib.h>
#include <string.h>

#define ALIGN 64 /* bytes: storages begin at multiples, as torch.save has them */
#define ROOT "archive"
#define LOCAL_SIZE 30
#define ZIP64_EXTRA 20 /* sizes, in the local header */

/* ---- bytes ----------------------------------------------------------------------------------- */

static int append(struct torch_writer *w, void **buffer, size_t *size, size_t *capacity,
                  const void *data, size_t count)
{
    if (*size + count > *capacity) {
        size_t wanted = 2 * (*size + count) + 4096;
        void *more = realloc(*buffer, wanted);
        if (!more)
            return log_error(w->out.log, UNREEL_ENOMEM, "%s: out of memory", w->out.path);
        *buffer = more;
        *capacity = wanted;
    }
    memcpy((char *)*buffer + *size, data, count);
    *size += count;
    return 0;
}

static uint8_t *little(uint8_t *to, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        *to++ = (uint8_t)(value >> 8 * i);
    return to;
}

/* ---- pickle ---------------------------------------------------------------------------------- */

static int put(struct torch_writer *w, const void *data, size_t size)
{
    return append(w, (void **)&w->pickle, &w->pickle_size, &w->pickle_capacity, data, size);
}

static int put_text(struct torch_writer *w, const char *text)
{
    uint8_t head[5] = {'X'};
    size_t length = strlen(text);
    little(head + 1, length, 4);
    int code = put(w, head, sizeof head);
    return code < 0 ? code : put(w, text, length);
}

static int put_number(struct torch_writer *w, int64_t number)
{
    uint8_t op[10] = {0x8a, 8}; /* LONG1 */
    little(op + 2, (uint64_t)number, 8);
    return put(w, op, sizeof op);
}

static int put_tuple(struct torch_writer *w, int dims, const int64_t *values)
{
    int code = put(w, "(", 1);
    for (int i = 0; code == 0 && i < dims; i++)
        code = put_number(w, values[i]);
    return code < 0 ? code : put(w, "t", 1);
}

int torch_writer_describe(struct torch_writer *writer, const char *name, enum tensor_type type,
                          int dims, const int64_t *shape)
{
    static const char *const storages[] = {"FloatStorage", "BFloat16Storage", "HalfStorage",
                                           "IntStorage"};
    char key[16], global[64];
    int64_t stride[TENSOR_DIMS], count = 1;
    for (int i = dims - 1; i >= 0; i--) {
        stride[i] = count;
        count *= shape[i];
    }
    snprintf(key, sizeof key, "%d", writer->tensors++);
    int length = snprintf(global, sizeof global, "ctorch\n%s\n", storages[type]);
    static const char rebuild[] = "ctorch._utils\n_rebuild_tensor_v2\n((";
    static const char hooks[] = "\x89"
                                "ccollections\nOrderedDict\n)RtR";
    int code = put_text(writer, name);
    code = code < 0 ? code : put(writer, rebuild, sizeof rebuild - 1);
    code = code < 0 ? code : put_text(writer, "storage");
    code = code < 0 ? code : put(writer, global, (size_t)length);
    code = code < 0 ? code : put_text(writer, key);
    code = code < 0 ? code : put_text(writer, "cpu");
    code = code < 0 ? code : put_number(writer, count);
    code = code < 0 ? code : put(writer, "tQ", 2);
    code = code < 0 ? code : put_number(writer, 0);
    code = code < 0 ? code : put_tuple(writer, dims, shape);
    code = code < 0 ? code : put_tuple(writer, dims, stride);
    return code < 0 ? code : put(writer, hooks, sizeof hooks - 1);
}

/* ---- zip ------------------------------------------------------------------------------------- */

static int write_bytes(struct torch_writer *w, const void *data, size_t size)
{
    return new_file_write(&w->out, data, size);
}

/* A local header with its sizes in a ZIP64 field, to be filled in at the end, and padding that
 * aligns the content. */
static int begin_entry(struct torch_writer *w, const char *name)
{
    uint8_t head[LOCAL_SIZE + 256 + ZIP64_EXTRA + 4 + ALIGN] = {0}, *at = head;
    size_t length = strlen(name);
    uint64_t offset = (uint64_t)ftello(w->out.file);
    size_t fixed = LOCAL_SIZE + length + ZIP64_EXTRA + 4;
    size_t padding = (ALIGN - (offset + fixed) % ALIGN) % ALIGN;
    memcpy(at, "PK\3\4", 4);
    little(head + 4, 45, 2);
    little(head + 18, 0xffffffff, 4);
    little(head + 22, 0xffffffff, 4);
    little(head + 26, length, 2);
    little(head + 28, ZIP64_EXTRA + 4 + padding, 2);
    memcpy(head + LOCAL_SIZE, name, length);
    at = little(head + LOCAL_SIZE + length, 1, 2);
    little(at, 16, 2);
    at = little(at + 18, 0x4246, 2); /* "FB": torch.save's own padding field */
    little(at, padding, 2);
    w->content = offset + fixed + padding;
    w->entry_size = 0;
    w->crc = 0;

    uint8_t central[46 + 256 + 28] = {0};
    memcpy(central, "PK\1\2", 4);
    little(central + 4, 45, 2);
    little(central + 6, 45, 2);
    little(central + 20, 0xffffffff, 4);
    little(central + 24, 0xffffffff, 4);
    little(central + 28, length, 2);
    little(central + 30, 28, 2);
    little(central + 42, 0xffffffff, 4);
    memcpy(central + 46, name, length);
    at = little(central + 46 + length, 1, 2);
    at = little(at, 24, 2);
    little(at + 16, offset, 8);
    int code = append(w, (void **)&w->directory, &w->directory_size, &w->directory_capacity,
                      central, 46 + length + 28);
    w->entries++;
    return code < 0 ? code : write_bytes(w, head, fixed + padding);
}

static int write_content(struct torch_writer *w, const void *data, size_t size)
{
    w->crc = crc32_update(&w->crc32, w->crc, data, size);
    w->entry_size += size;
    return write_bytes(w, data, size);
}

/* Sizes and checksum into the local header and the directory's last entry. */
static int end_entry(struct torch_writer *w, const char *name)
{
    uint8_t sizes[16], crc[4];
    size_t length = strlen(name);
    uint8_t *central = w->directory + w->directory_size - (46 + length + 28);
    little(little(sizes, w->entry_size, 8), w->entry_size, 8);
    little(crc, w->crc, 4);
    memcpy(central + 16, crc, 4);
    memcpy(central + 46 + length + 4, sizes, 16);
    uint8_t *offset = central + 46 + length + 4 + 16;
    uint64_t local = 0;
    for (int i = 0; i < 8; i++)
        local |= (uint64_t)offset[i] << 8 * i;
    if (fseeko(w->out.file, (off_t)local + 14, SEEK_SET) < 0 ||
        fwrite(crc, 1, 4, w->out.file) != 4 ||
        fseeko(w->out.file, (off_t)local + LOCAL_SIZE + (off_t)length + 4, SEEK_SET) < 0 ||
        fwrite(sizes, 1, 16, w->out.file) != 16 || fseeko(w->out.file, 0, SEEK_END) < 0)
        return new_file_fail(&w->out);
    return 0;
}

static int write_entry(struct torch_writer *w, const char *name, const void *data, size_t size)
{
    int code = begin_entry(w, name);
    code = code < 0 ? code : write_content(w, data, size);
    return code < 0 ? code : end_entry(w, name);
}

static int write_directory(struct torch_writer *w)
{
    uint8_t end[56 + 20 + 22] = {0};
    uint64_t offset = (uint64_t)ftello(w->out.file), end64 = offset + w->directory_size;
    memcpy(end, "PK\6\6", 4);
    little(end + 4, 44, 8);
    little(end + 12, 45, 2);
    little(end + 14, 45, 2);
    little(end + 24, w->entries, 8);
    little(end + 32, w->entries, 8);
    little(end + 40, w->directory_size, 8);
    little(end + 48, offset, 8);
    memcpy(end + 56, "PK\6\7", 4);
    little(end + 64, end64, 8);
    little(end + 72, 1, 4);
    memcpy(end + 76, "PK\5\6", 4);
    little(end + 84, 0xffff, 2);
    little(end + 86, 0xffff, 2);
    little(end + 88, 0xffffffff, 4);
    little(end + 92, 0xffffffff, 4);
    int code = write_bytes(w, w->directory, w->directory_size);
    return code < 0 ? code : write_bytes(w, end, sizeof end);
}

/* ---- public ---------------------------------------------------------------------------------- */

int torch_writer_open(struct torch_writer *writer, const char *path, const unreel_log *log)
{
    *writer = (struct torch_writer){0};
    int code = new_file_open(&writer->out, path, log);
    if (code < 0)
        return code;
    crc32_init(&writer->crc32);
    code = put(writer, "\x80\x02}(", 4);
    return code < 0 ? torch_writer_close(writer, code) : 0;
}

static void data_name(const struct torch_writer *w, char *name, size_t size)
{
    snprintf(name, size, ROOT "/data/%d", w->written);
}

int torch_writer_begin(struct torch_writer *writer)
{
    char name[64];
    int code = 0;
    if (!writer->written) {
        code = put(writer, "u.", 2);
        code = code < 0
                   ? code
                   : write_entry(writer, ROOT "/data.pkl", writer->pickle, writer->pickle_size);
        code = code < 0 ? code : write_entry(writer, ROOT "/byteorder", "little", 6);
    }
    data_name(writer, name, sizeof name);
    return code < 0 ? code : begin_entry(writer, name);
}

int torch_writer_data(struct torch_writer *writer, const void *data, size_t size)
{
    return write_content(writer, data, size);
}

int torch_writer_end(struct torch_writer *writer)
{
    char name[64];
    data_name(writer, name, sizeof name);
    writer->written++;
    return end_entry(writer, name);
}

int torch_writer_close(struct torch_writer *writer, int code)
{
    struct torch_writer *w = writer;
    if (code == 0)
        code = write_entry(w, ROOT "/version", "3\n", 2);
    if (code == 0)
        code = write_directory(w);
    code = new_file_close(&w->out, code);
    free(w->pickle);
    free(w->directory);
    *w = (struct torch_writer){0};
    return code;
}
