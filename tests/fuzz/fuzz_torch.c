/* PyTorch checkpoints: the zip directory and the pickle in it. Inputs that begin with 0x80 are
 * pickles, which get a zip file with a few storages around them, so that the fuzzer need not keep
 * one intact. */
#include "build_zip.h"
#include "fuzz_weights.h"

static void wrap(const uint8_t *pickle, size_t size)
{
    static const uint8_t storage[64];
    struct build_zip z = {0};
    build_zip_entry(&z, "a/data.pkl", pickle, size, 0);
    build_zip_entry(&z, "a/data/0", storage, sizeof storage, 0);
    build_zip_entry(&z, "a/data/1", storage, 24, 0);
    build_zip_entry(&z, "a/data/2", storage, 7, 0); /* what follows is at an odd address */
    build_zip_entry(&z, "a/data/3", storage, 16, 0);
    build_zip_end(&z);
    fuzz_weights(z.data, z.size, NULL);
    fuzz_weights(z.data, z.size, "generator_ema");
    build_zip_free(&z);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size && data[0] == 0x80) {
        wrap(data, size);
    } else {
        fuzz_weights(data, size, NULL);
        fuzz_weights(data, size, "generator_ema");
    }
    return 0;
}
