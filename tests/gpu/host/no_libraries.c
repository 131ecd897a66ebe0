/* A machine without cuBLASLt and cuDNN. */
#include "library.h"

bool lt_load(struct lt_api *api, const unreel_log *log)
{
    return false;
}

bool dnn_load(struct dnn_api *api, const unreel_log *log)
{
    return false;
}
