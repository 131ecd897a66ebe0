/* PyTorch checkpoints: the zip directory and the pickle in it. Inputs that begin with 0x80 are pickles of
 * their own, so that the fuzzer need not keep a zip file intact to reach the machine. */
#include "fuzz_weights.h"
#include "weights/pickle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pickle pickle;
    if (size && data[0] == 0x80) {
        if (pickle_read(&pickle, data, size, "fuzz", NULL) == 0)
            pickle_finish(&pickle);
        return 0;
    }
    fuzz_weights(data, size, NULL);
    fuzz_weights(data, size, "generator_ema");
    return 0;
}
