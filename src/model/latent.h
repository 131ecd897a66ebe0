/* What a latent of Wan2.1's VAE is, and of TAEHV, which reads and writes the same. */
#pragma once

#define LATENT_CHANNELS 16
#define LATENT_PIXELS 8 /* px: a latent's side */
