#define EMULATE
#include "fused.cu"

namespace emulated {
static struct { const float *W, *b; const void *X, *Y; const float* weights; const int* m; float* sums; void* dZ_1; } given;

static void thread() {
    threadIdx.x = current;
    fused(given.W, given.b, (const Stored*)given.X, (const Target*)given.Y, given.weights, given.m, given.sums
#if N0 == 0
          , (Stored*)given.dZ_1
#endif
    );
    fibers[current].done = true, events++;
    for (;;) yield();
}

static void resume(int id) {
    Fiber& fiber = fibers[id];
    current = threadIdx.x = id;
    if (_setjmp(scheduler)) return;
    if (fiber.started) _longjmp(fiber.context, 1);
    fiber.started = true;
    setcontext(&fiber.start);
}

static void start(int id) {
    Fiber& fiber = fibers[id];
    constexpr int size = 1 << 17;
    if (!fiber.stack) fiber.stack = (char*)malloc(size);
    getcontext(&fiber.start);
    fiber.start.uc_stack.ss_sp = fiber.stack, fiber.start.uc_stack.ss_size = size, fiber.start.uc_link = nullptr;
    makecontext(&fiber.start, thread, 0);
    fiber.started = fiber.done = fiber.at_barrier = false, fiber.parity = 0;
}

static uint32_t random_state;
static int random_below(int n) {  // 0 without a seed
    random_state ^= random_state << 13, random_state ^= random_state >> 17, random_state ^= random_state << 5;
    return random_state % n;
}

// Lets a warp run until all of its lanes have ended or wait for the block
static void run_warp(int warp) {
    for (;;) {
        const int before = warps[warp].generation, block = generation;
        // lanes in turn, or in steps from one of them on
        const int first = random_below(32), step = random_below(16) * 2 + 1;
        int waiting = 0;
        for (int k = 0; k < 32; k++) {
            const int id = warp * 32 + (first + k * step) % 32;
            Fiber& fiber = fibers[id];
            if (!fiber.done) fiber.at_barrier = false, resume(id);
            waiting += fiber.done || fiber.at_barrier;
        }
        if (waiting == 32 && warps[warp].generation == before && generation == block) return;
    }
}
}  // namespace emulated

extern "C" int shared_bytes() { return Block{nullptr}.bytes(); }
extern "C" int row_size() { return ROW; }

// Runs all blocks, warps and lanes in an order that `seed` gives (0: in turn), without the barrier in line `left_out`
extern "C" int run(const float* W, const float* b, const void* X, const void* Y, const float* weights, int m,
                   float* sums, void* dZ_1, int blocks, int seed, int left_out) {
    using namespace emulated;
    given = {W, b, X, Y, weights, &m, sums, dZ_1};
    gridDim.x = blocks, threads = THREADS, random_state = seed, emulated::left_out = left_out;
    for (blockIdx.x = 0; blockIdx.x < blocks; blockIdx.x++) {
        const int bytes = shared_bytes();
        shared = (float*)aligned_alloc(64, (bytes + 63) / 64 * 64);
        memset(shared, 0xff, bytes);  // NaN
        memset(warps, 0, sizeof warps);
        arrived = generation = 0;
        int order[WARPS];
        for (int i = 0; i < WARPS; i++) order[i] = i;
        for (int id = 0; id < THREADS; id++) start(id);
        for (bool running = true; running;) {
            for (int i = WARPS - 1; seed && i > 0; i--) {
                const int j = random_below(i + 1), swapped = order[i];
                order[i] = order[j], order[j] = swapped;
            }
            const long before = events;
            for (int warp : order) run_warp(warp);
            running = false;
            for (int id = 0; id < THREADS; id++) running |= !fibers[id].done;
            if (running && events == before) return 1;  // they wait for each other
        }
        free(shared);
    }
    return 0;
}
