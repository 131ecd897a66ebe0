#include "text/sentencepiece.h"

#include <algorithm>
#include <cstdio>
#include <exception>
#include <memory>
#include <string_view>
#include <vector>

#include <sentencepiece_processor.h>

using Processor = sentencepiece::SentencePieceProcessor;

extern "C" void *sentencepiece_open(const void *data, size_t bytes, char *error, size_t size)
try {
    auto model = std::make_unique<Processor>();
    auto status = model->LoadFromSerializedProto({static_cast<const char *>(data), bytes});
    if (status.ok())
        return model.release();
    std::snprintf(error, size, "%s", status.message());
    return nullptr;
} catch (const std::exception &e) {
    std::snprintf(error, size, "%s", e.what());
    return nullptr;
} catch (...) {
    std::snprintf(error, size, "unknown exception");
    return nullptr;
}

extern "C" void sentencepiece_close(void *model)
{
    delete static_cast<Processor *>(model);
}

extern "C" int64_t sentencepiece_encode(const void *model, const char *text, size_t bytes,
                                        int32_t *ids, size_t max, char *error, size_t size)
try {
    std::vector<int> all;
    auto processor = static_cast<const Processor *>(model);
    auto status = processor->Encode(std::string_view(text, bytes), &all);
    if (status.ok()) {
        std::copy_n(all.begin(), std::min(max, all.size()), ids);
        return static_cast<int64_t>(all.size());
    }
    std::snprintf(error, size, "%s", status.message());
    return -1;
} catch (const std::exception &e) {
    std::snprintf(error, size, "%s", e.what());
    return -1;
} catch (...) {
    std::snprintf(error, size, "unknown exception");
    return -1;
}
