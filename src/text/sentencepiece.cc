// The C side of libsentencepiece. No exception leaves this file.
#include "text/sentencepiece.h"

#include <sentencepiece_processor.h>

#include <cstdio>
#include <new>
#include <string>
#include <vector>

struct sentencepiece_model {
    ::sentencepiece::SentencePieceProcessor processor;
};

extern "C" struct sentencepiece_model *sentencepiece_load(const void *data, size_t length, char *reason,
                                                    size_t size)
{
    struct sentencepiece_model *model = nullptr;
    try {
        model = new struct sentencepiece_model;
        const auto status = model->processor.LoadFromSerializedProto(
            {static_cast<const char *>(data), length});
        if (status.ok())
            return model;
        std::snprintf(reason, size, "%s", status.ToString().c_str());
    } catch (const std::exception &e) {
        std::snprintf(reason, size, "%s", e.what());
    } catch (...) {
        std::snprintf(reason, size, "unknown failure");
    }
    delete model;
    return nullptr;
}

extern "C" void sentencepiece_free(struct sentencepiece_model *model)
{
    delete model;
}

extern "C" long sentencepiece_encode(const struct sentencepiece_model *model, const char *text,
                                     int32_t *ids, size_t max)
{
    try {
        std::vector<int> found;
        if (!model->processor.Encode(text, &found).ok())
            return -1;
        for (size_t i = 0; i < found.size() && i < max; i++)
            ids[i] = found[i];
        return static_cast<long>(found.size());
    } catch (...) {
        return -1;
    }
}
