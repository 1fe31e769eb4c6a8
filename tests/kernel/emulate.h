// Runs the kernel's text on a CPU: a fiber for each thread of a block, switched at barriers and at what a warp does as
// one. Warps run in shuffled order, each as far ahead as it can, and so do the lanes of a warp: where a barrier is
// missing, results differ.
#pragma once
#include <setjmp.h>
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#define DEVICE static inline
#define MEMBER inline
#define UNROLL
#define UNROLL_BY(n)
#define LAUNCH_BOUNDS(n)
#define __global__
#define __restrict__
#define __expf expf
#define SHARED(s) float* s = emulated::shared
#define __syncthreads() emulated::barrier(__LINE__)

struct float2 { float x, y; };
struct float4 { float x, y, z, w; };
struct uint2 { uint32_t x, y; };
static struct { int x; } threadIdx, blockIdx, gridDim;

namespace emulated {
struct Warp {
    int arrived, generation;
    uint32_t a[2][32][4], b[2][32][2];
    float x[2][32];
};
struct Fiber {
    jmp_buf context;
    ucontext_t start;
    char* stack;
    bool started, done, at_barrier;
    int parity;
};
constexpr int MOST = 1024;
static Fiber fibers[MOST];
static Warp warps[MOST / 32];
static int threads, current, arrived, generation, left_out;
static jmp_buf scheduler;
static float* shared;
static long events;  // arrivals and ends

inline void yield() {
    const int me = current;
    if (!_setjmp(fibers[me].context)) _longjmp(scheduler, 1);
    threadIdx.x = me;
}
inline void barrier(int line) {
    if (line == left_out) return;
    const int before = generation;
    events++;
    if (++arrived == threads) arrived = 0, generation++;
    while (generation == before) fibers[current].at_barrier = true, yield();
}
// Waits for the other lanes, which have put what they give under the same parity
inline Warp& meet(int& parity, int& lane) {
    Warp& warp = warps[current / 32];
    parity = fibers[current].parity, lane = current % 32;
    fibers[current].parity ^= 1;
    return warp;
}
inline void wait_for_lanes(Warp& warp) {
    const int before = warp.generation;
    if (++warp.arrived == 32) warp.arrived = 0, warp.generation++;
    while (warp.generation == before) yield();
}
}  // namespace emulated

DEVICE uint32_t as_bits(float x) { uint32_t u; memcpy(&u, &x, 4); return u; }
DEVICE float as_float(uint32_t u) { float x; memcpy(&x, &u, 4); return x; }
DEVICE uint32_t to_tf32(float x) { return (as_bits(x) + 0x1000u) & ~0x1fffu; }  // to the nearest, ties away from zero
DEVICE uint32_t to_bfloat16(float x) {                                          // to the nearest, ties to even
    if (x != x) return 0x7fff;
    return (as_bits(x) + 0x7fffu + (as_bits(x) >> 16 & 1)) >> 16;
}
DEVICE uint32_t to_bfloat16s(float low, float high) { return to_bfloat16(low) | to_bfloat16(high) << 16; }

DEVICE float from_lane_xor(float x, int k) {
    int parity, lane;
    emulated::Warp& warp = emulated::meet(parity, lane);
    warp.x[parity][lane] = x;
    emulated::wait_for_lanes(warp);
    return warp.x[parity][lane ^ k];
}

// A sum of a tensor core, which is cut off to 24 bits
DEVICE float cut_off(double sum) {
    const float nearest = (float)sum;
    return fabs((double)nearest) > fabs(sum) ? nextafterf(nearest, 0) : nearest;
}

// The fragments as PTX describes them. In TF32 (k = 8) register h of a holds (g + 8 (h % 2), t + 4 (h / 2)) and of b
// (t + 4 h, g); in bfloat16 (k = 16) it holds two neighbours of k, (g + 8 (h % 2), 2 t + 8 (h / 2)) and the next.
template <int PACKED>
DEVICE void mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    int parity, lane;
    emulated::Warp& warp = emulated::meet(parity, lane);
    memcpy(warp.a[parity][lane], a, 16);
    memcpy(warp.b[parity][lane], b, 8);
    emulated::wait_for_lanes(warp);
    const int g = lane / 4, t = lane % 4;
    for (int h = 0; h < 4; h++) {
        double sum = c[h];
        for (int k = 0; k < 8; k++) {
            const uint32_t x = warp.a[parity][g * 4 + k % 4][h / 2 + k / 4 * 2];
            const uint32_t y = warp.b[parity][(2 * t + h % 2) * 4 + k % 4][k / 4];
            if (PACKED) {
                sum += (double)as_float(x << 16) * as_float(y << 16);
                sum += (double)as_float(x & 0xffff0000u) * as_float(y & 0xffff0000u);
            } else {
                sum += (double)as_float(x & ~0x1fffu) * as_float(y & ~0x1fffu);
            }
        }
        c[h] = cut_off(sum);
    }
}
DEVICE void mma_tf32(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) { mma<0>(c, a, b); }
DEVICE void mma_bfloat16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) { mma<1>(c, a, b); }
