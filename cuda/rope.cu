/* RMS normalisation of queries and keys, rotary embedding, writing into the ring of keys and
 * values.
 *
 * Block: a token (of q, k or v). Thread: a pair or 4 neighbouring pairs, every blockDim times as
 * many; it reads and writes only these, so that y may be x. 16-byte accesses where all is aligned.
 * Bound: memory; a token is read again for the result, from L1; angles stay in L1 and L2. */
#include "common.cuh"

/* Where a token of frame, row, column lies. */
struct place {
    int64_t frame, row, column;
};

static __device__ inline int64_t token_at(const kernel_video &video, const place &p)
{
    return p.frame * video.stride[0] + p.row * video.stride[1] + p.column * video.stride[2];
}

static __device__ inline place place_of(const kernel_rope &rope, int64_t token)
{
    int64_t row = token / rope.tokens[2];
    return {row / rope.tokens[1], row % rope.tokens[1], token % rope.tokens[2]};
}

/* (cos, sin) of a pair of a head. */
static __device__ inline const float *angle_of(const kernel_rope &rope, const place &p,
                                               int64_t pair)
{
    if (pair < rope.pairs[0])
        return rope.frame + (p.frame * rope.pairs[0] + pair) * 2;
    pair -= rope.pairs[0];
    if (pair < rope.pairs[1])
        return rope.row + (p.row * rope.pairs[1] + pair) * 2;
    return rope.column + (p.column * rope.pairs[2] + pair - rope.pairs[1]) * 2;
}

template <typename X, int N>
static __device__ inline float token_inverse_rms(const X *x, int64_t count, float eps)
{
    float squares = 0;
    FOR_ROW(i, count)
    {
        float v[N];
        load<N>(v, x + i);
        for (int j = 0; j < N; j++)
            squares += v[j] * v[j];
    }
    float least = 1e-12f / sqrtf((float)count);
    return 1 / fmaxf(sqrtf(block_sum(squares) / (float)count + eps), least);
}

/* gain NULL: no normalisation. All threads of the block. */
template <typename Y, typename X, int N>
static __device__ inline void turn_token(Y *y, const X *x, const kernel_rope &rope, const place &p,
                                         const float *gain, float eps)
{
    int64_t count = rope.heads * rope.width;
    float inverse = gain ? token_inverse_rms<X, N>(x, count, eps) : 1;
    FOR_ROW(i, count)
    {
        float v[N], g[N];
        load<N>(v, x + i);
        if (gain) {
            load<N>(g, gain + i);
            for (int j = 0; j < N; j++)
                v[j] *= inverse * g[j];
        }
        int64_t pair = i % rope.width / 2; /* all N are of one head */
        for (int j = 0; j < N; j += 2) {
            const float *angle = angle_of(rope, p, pair + j / 2);
            float a = v[j], b = v[j + 1];
            v[j] = a * angle[0] - b * angle[1];
            v[j + 1] = a * angle[1] + b * angle[0];
        }
        store<N>(y + i, v);
    }
}

template <typename Y, typename X, int N>
static __global__ void rms_norm_rope(kernel_video y, kernel_video x, kernel_rope rope,
                                     const float *gain, float eps, const int32_t *slot)
{
    place from = place_of(rope, blockIdx.x), to = from;
    if (slot)
        to.frame = slot[from.frame];
    turn_token<Y, X, N>(static_cast<Y *>(y.data) + token_at(y, to),
                        static_cast<const X *>(x.data) + token_at(x, from), rope, from, gain, eps);
}

struct qkv {
    kernel_video y[3], x[3];
    const float *gain[2];
};

/* Blocks 3 t, 3 t + 1, 3 t + 2: q, k and v of token t. */
template <typename Y, typename X, int N>
static __global__ void store_qkv(qkv all, kernel_rope rope, float eps, const int32_t *slot)
{
    int part = blockIdx.x % 3;
    const kernel_video &out = all.y[part], &in = all.x[part];
    if (!out.data)
        return;
    place from = place_of(rope, blockIdx.x / 3), to = from;
    if (part)
        to.frame = slot[from.frame];
    Y *y = static_cast<Y *>(out.data) + token_at(out, to);
    const X *x = static_cast<const X *>(in.data) + token_at(in, from);
    if (part < 2) {
        turn_token<Y, X, N>(y, x, rope, from, all.gain[part], eps);
        return;
    }
    FOR_ROW(i, rope.heads * rope.width)
    {
        float v[N];
        load<N>(v, x + i);
        store<N>(y + i, v);
    }
}

struct pair {
    static constexpr int n = 2;
};

/* As with_width(), but at least a pair at a time. */
template <typename F> static cudaError_t with_pairs(bool is_wide, F f)
{
    return is_wide ? f(wide()) : f(pair());
}

static int64_t token_count(const kernel_rope &rope)
{
    return rope.width ? rope.tokens[0] * rope.tokens[1] * rope.tokens[2] : 0;
}

cudaError_t kernel_rms_norm_rope(const struct kernel_video *y, const struct kernel_video *x,
                                 const struct kernel_rope *rope, const float *gain, float eps,
                                 const int32_t *slot, cudaStream_t stream)
{
    bool aligned = is_wide(*y) && is_wide(*x) && is_wide(gain, 0) && rope->width % WIDE == 0;
    return with_type(y->type, [&](auto ty) {
        return with_type(x->type, [&](auto tx) {
            return with_pairs(aligned, [&](auto step) {
                constexpr int n = decltype(step)::n;
                return launch(rms_norm_rope<decltype(ty), decltype(tx), n>, token_count(*rope),
                              row_threads(rope->heads * rope->width, n), stream, *y, *x, *rope,
                              gain, eps, slot);
            });
        });
    });
}

cudaError_t kernel_store_qkv(const struct kernel_video *q, const struct kernel_video *k,
                             const struct kernel_video *v, const struct kernel_video *x_q,
                             const struct kernel_video *x_k, const struct kernel_video *x_v,
                             const struct kernel_rope *rope, const float *gain_q,
                             const float *gain_k, float eps, const int32_t *slot,
                             cudaStream_t stream)
{
    qkv all = {{*q, *k, *v}, {*x_q, *x_k, *x_v}, {gain_q, gain_k}};
    bool aligned = is_wide(gain_q, 0) && is_wide(gain_k, 0) && rope->width % WIDE == 0;
    for (int i = 0; i < 3; i++) {
        if (all.y[i].type != q->type || all.x[i].type != x_q->type)
            return cudaErrorInvalidValue;
        aligned = aligned && is_wide(all.y[i]) && is_wide(all.x[i]);
    }
    /* a token of each of them, q's blocks ending at once where it is not wanted */
    return with_type(q->type, [&](auto ty) {
        return with_type(x_q->type, [&](auto tx) {
            return with_pairs(aligned, [&](auto step) {
                constexpr int n = decltype(step)::n;
                return launch(store_qkv<decltype(ty), decltype(tx), n>, 3 * token_count(*rope),
                              row_threads(rope->heads * rope->width, n), stream, all, *rope, eps,
                              slot);
            });
        });
    });
}
