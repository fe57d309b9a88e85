// What every generated kernel stands on. Compiled by NVRTC for the GPU, by g++ with cuda_shim.h for a check on the CPU.
// The word __global__ occurs here only: generated bodies are written through KERNEL(name, threads, blocks).
#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#define NAN __int_as_float(0x7fffffff)
#endif
typedef long long i8; typedef int i4; typedef unsigned int u4; typedef unsigned char u1; typedef unsigned short u2; typedef unsigned long long u8;
typedef float f4; typedef double f8; typedef bool b1;

// One step's place in a run. Written by two owners in turn, so no launch reads what it writes:
// the tail (last launch of a step) writes `next` and `stop`; the head (first launch) writes `now` and `live`.
struct Run {
    i8 next, stop;             // steps done; a step has reported "halt"
    i8 now, live;              // the step that runs; 0: it is beyond the end or a halt, and nothing may be written
    i8 steps;                  // length of the run
    const void* data[8];       // the arrays that rows are taken from
    const void* order;         // (steps, batch) row numbers, or null
    const void* lr;            // (steps,)
    void* report[8];           // (steps, ...) each
};
#define KERNEL(name, threads, blocks) extern "C" __global__ void __launch_bounds__(threads, blocks) name(char* m, Run* run)
#define HEAD const i8 step = run->next; const bool live = step < run->steps && !run->stop;
#define BODY if (!run->live) return; const i8 step = run->now;
#define AT(type, place) ((type*)(m + (place)))

struct alignas(16) q16 { u4 v[4]; };
template<class T, int V> struct alignas(sizeof(T) * V) Vec { T v[V]; };
template<class T, int V> __device__ __forceinline__ Vec<T, V> load(const T* p) { return *(const Vec<T, V>*)p; }
template<class T, int V> __device__ __forceinline__ void store(T* p, const Vec<T, V>& x) { *(Vec<T, V>*)p = x; }

// NaN comes out of maximum and minimum from either side, as in NumPy; fmaxf would drop it
template<class T> __device__ __forceinline__ T maximum(T a, T b) { return (a >= b || a != a) ? a : b; }
template<class T> __device__ __forceinline__ T minimum(T a, T b) { return (a <= b || a != a) ? a : b; }
template<class T> __device__ __forceinline__ T sign(T a) { return a > T(0) ? T(1) : (a < T(0) ? T(-1) : a); }
template<class T> __device__ __forceinline__ T add(T a, T b) { return a + b; }
// the functions of C that NumPy has as well, in either precision
#define FUNCTION(name) __device__ __forceinline__ f4 m_##name(f4 x) { return name##f(x); } \
    __device__ __forceinline__ f8 m_##name(f8 x) { return name(x); }
#define FUNCTION_OF_TWO(name) __device__ __forceinline__ f4 m_##name(f4 x, f4 y) { return name##f(x, y); } \
    __device__ __forceinline__ f8 m_##name(f8 x, f8 y) { return name(x, y); }
FUNCTION(exp) FUNCTION(log) FUNCTION(log1p) FUNCTION(expm1) FUNCTION(log2) FUNCTION(log10) FUNCTION(sqrt)
FUNCTION(rint) FUNCTION(floor) FUNCTION(ceil) FUNCTION(trunc)
FUNCTION(sin) FUNCTION(cos) FUNCTION(tan) FUNCTION(asin) FUNCTION(acos) FUNCTION(atan)
FUNCTION(sinh) FUNCTION(cosh) FUNCTION(tanh) FUNCTION(asinh) FUNCTION(acosh) FUNCTION(atanh)
FUNCTION_OF_TWO(pow) FUNCTION_OF_TWO(atan2) FUNCTION_OF_TWO(hypot) FUNCTION_OF_TWO(copysign)
// log(exp(x) + exp(y)) as NumPy computes it, without overflow
template<class T> __device__ __forceinline__ T m_logaddexp(T x, T y) {
    const T d = x - y;
    return x == y ? x + T(0.693147180559945309417) : d > T(0) ? x + m_log1p(m_exp(-d)) : d <= T(0) ? y + m_log1p(m_exp(d)) : d;
}
__device__ __forceinline__ f4 m_fma(f4 x, f4 y, f4 z) { return fmaf(x, y, z); }
__device__ __forceinline__ f8 m_fma(f8 x, f8 y, f8 z) { return fma(x, y, z); }
// an element of a product: K terms in order, those of a and b so many numbers apart; V of them are read at once
template<class T, int K, int A, int B, int V> __device__ __forceinline__ T dot(const T* a, const T* b) {
    T s = T(0);
    if (V > 1) {
        _Pragma("unroll 4") for (int t = 0; t < K; t += V) {
            const auto x = load<T, V>(a + t); const auto y = load<T, V>(b + t);
            _Pragma("unroll") for (int u = 0; u < V; ++u) s = m_fma(x.v[u], y.v[u], s);
        }
        return s;
    }
    _Pragma("unroll 16") for (int t = 0; t < K; ++t) s = m_fma(a[t * A], b[t * B], s);
    return s;
}
__device__ __forceinline__ f4 m_abs(f4 x) { return fabsf(x); }     __device__ __forceinline__ f8 m_abs(f8 x) { return fabs(x); }
__device__ __forceinline__ i4 m_abs(i4 x) { return x < 0 ? -x : x; } __device__ __forceinline__ i8 m_abs(i8 x) { return x < 0 ? -x : x; }
__device__ __forceinline__ bool m_isfinite(f4 x) { return x - x == 0; } __device__ __forceinline__ bool m_isfinite(f8 x) { return x - x == 0; }
template<class T> __device__ __forceinline__ bool m_isfinite(T) { return true; }
template<class T> __device__ __forceinline__ bool m_signbit(T x) { return m_copysign(T(1), x) < T(0); }

// the bits of the nearest bfloat16, ties to even; NaN stays NaN
__device__ __forceinline__ u2 m_bfloat16(f4 x) {
    const u4 b = __float_as_uint(x);
    return x != x ? u2(b >> 16 | 0x40u) : u2((b + 0x7fffu + (b >> 16 & 1u)) >> 16);
}

// reductions in a fixed order: a butterfly within the warp, then warp after warp
#define REDUCTION(name, op)                                                                                       \
    template<int W, class T> __device__ __forceinline__ T warp_##name(T x) {                                      \
        _Pragma("unroll") for (int o = W / 2; o; o >>= 1) x = op(x, __shfl_xor_sync(0xffffffffu, x, o));          \
        return x;                                                                                                 \
    }                                                                                                             \
    /* each of the W threads of a row gets the result; where a row has several warps, room holds one number each */ \
    template<int W, class T> __device__ __forceinline__ T row_##name(T x, T* room) {                              \
        x = warp_##name<(W < 32 ? W : 32)>(x);                                                                    \
        if (W <= 32) return x;                                                                                    \
        __syncthreads();                                                                                          \
        if ((threadIdx.x & 31) == 0) room[threadIdx.x / 32] = x;                                                  \
        __syncthreads();                                                                                          \
        x = room[0];                                                                                              \
        for (int w = 1; w < W / 32; ++w) x = op(x, room[w]);                                                      \
        return x;                                                                                                 \
    }                                                                                                             \
    /* the second stage: every N-th of `count` numbers that lie `pitch` apart, from `first` on */                   \
    template<int N, class T> __device__ __forceinline__ T finish_##name(const T* p, int first, int count, i8 pitch, T none) { \
        T x = none;                                                                                               \
        _Pragma("unroll 8") for (int s = first; s < count; s += N) x = op(x, p[s * pitch]);                       \
        return x;                                                                                                 \
    }                                                                                                             \
    /* eight warps of a block, each with a part of 32 sums: the first warp gets the whole, in a fixed order */      \
    template<class T> __device__ __forceinline__ T block_##name(T x, T* room) {                                   \
        __syncthreads();                                                                                          \
        room[threadIdx.x] = x;                                                                                    \
        __syncthreads();                                                                                          \
        if (threadIdx.x < 32) for (int w = 1; w < 8; ++w) x = op(x, room[threadIdx.x + 32 * w]);                  \
        return x;                                                                                                 \
    }
REDUCTION(add, add)
REDUCTION(maximum, maximum)
REDUCTION(minimum, minimum)

// rows of this step's batch, 16 bytes (W words of T) at a time; negative numbers never occur
template<class T, class I> __device__ __forceinline__ void take_rows(
    T* out, const T* in, const I* order, i8 step, i8 batch, int words, i8 first, i8 stride) {
    const i8 n = batch * words;
    for (i8 k = first; k < n; k += stride) {
        const i8 r = k / words; const int c = int(k - r * words);
        const i8 from = order ? i8(order[step * batch + r]) : r;
        out[k] = in[from * words + c];
    }
}

// the same rows, `width` numbers each, rounded
template<class I> __device__ __forceinline__ void take_rounded_rows(
    u2* out, const f4* in, const I* order, i8 step, i8 batch, int width, i8 first, i8 stride) {
    const i8 n = batch * width;
    for (i8 k = first; k < n; k += stride) {
        const i8 r = k / width; const int c = int(k - r * width);
        out[k] = m_bfloat16(in[(order ? i8(order[step * batch + r]) : r) * width + c]);
    }
}
