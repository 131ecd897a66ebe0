#include "model/video_decoder.h"

struct tensor video_decoder_decode(struct video_decoder *decoder, struct tensor latents)
{
    backend_range_begin(decoder->backend, decoder->ops->name);
    struct tensor pixels = decoder->ops->decode(decoder, latents);
    backend_range_end(decoder->backend);
    return pixels;
}

int video_decoder_pictures(const struct video_decoder *decoder, int frames)
{
    return decoder->ops->pictures(decoder, frames);
}

void video_decoder_reset(struct video_decoder *decoder)
{
    decoder->ops->reset(decoder);
}

void video_decoder_close(struct video_decoder *decoder)
{
    if (decoder)
        decoder->ops->close(decoder);
}

struct tensor video_encoder_encode(struct video_encoder *encoder, struct tensor pixels)
{
    return encoder->ops->encode(encoder, pixels);
}

void video_encoder_reset(struct video_encoder *encoder)
{
    encoder->ops->reset(encoder);
}

void video_encoder_close(struct video_encoder *encoder)
{
    if (encoder)
        encoder->ops->close(encoder);
}
