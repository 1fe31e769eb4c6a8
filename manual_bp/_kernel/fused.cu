// The cost and its gradient in one kernel: the equations of manual_bp/_equations.py for a tile of examples at a time.
//
//     forward    Z[l] = W[l] A[l-1] + b[l]          A[l] = g[l](Z[l])
//     backward   dZ[L] = dA[L] * g[L]'(Z[L])        becomes A - Y for cross-entropy on its own output
//                dZ[l] = dA[l] * g[l]'(Z[l])        dA[l-1] = W[l]^T dZ[l]
//                dW[l] = dZ[l] A[l-1]^T             db[l] = sum over examples of dZ[l]
//
// Columns are examples. dZ[L] carries the example weight w, and with it every dZ[l]. A block walks over tiles of TILE
// examples. All of a tile stays on the chip: A[0..L-1] in shared memory, where dZ[l] takes the place of A[l] once that
// has been used. dW and db are added up in registers over the tiles of the block and written once, as one row of
// `sums`. The caller adds up the rows in a fixed order and divides by the sum of the weights.
//
// An A[0] too wide for the chip stays with the caller, who forms two products: W[1] A[0], which is then what the kernel
// reads as X, and dW[1] = dZ[1] A[0]^T, from the dZ[1] that it writes. Here such an A[0] has no rows.
//
// The compiler is given: HIDDEN, the number of hidden layers; INPUTS, the true rows of X; OUTPUTS, the true n_L; N0,
// WIDTH and OUT, the sizes of the matrices, padded with zeros, where N0 = 0 stands for a wide A[0]; TILE; PRECISION;
// UNROLLED, the steps of a product that are interleaved; AHEAD, whether a tile of X is read while the one before is
// computed on; ACTIVATIONS, the names of g[1..L]; COST; INDICES, whether Y holds class indices; WEIGHTED, whether there
// are example weights.
#include "hardware.cuh"

enum { IDENTITY, SIGMOID, TANH, RELU, LEAKY_RELU, ELU, SOFTMAX };
enum { CROSS_ENTROPY, SQUARED_ERROR, ABSOLUTE_ERROR };

constexpr int L = HIDDEN + 1;
typedef Chosen<INDICES, int, Stored>::type Target;
DEVICE constexpr bool is_size(int n) { return n == 16 || n == 32 || n == 48 || n == 64 || n == 96 || n == 128; }
static_assert(HIDDEN > 0 && (WIDE || is_size(N0)) && is_size(WIDTH) && (OUT == 16 || OUT == 32),
              "sizes that warps can share");
static_assert(INPUTS <= ROWS_OF_X && OUTPUTS <= OUT && (TILE == 64 || TILE == 32), "padded sizes");

DEVICE constexpr int n(int l) { return l == 0 ? N0 : l < L ? WIDTH : OUT; }

// Where the parameters of layer l begin in W, b and, one after another, in a row of `sums`; cost and weight follow
DEVICE constexpr int W_begin(int l) { return l == 1 ? 0 : WIDTH * N0 + (l - 2) * WIDTH * WIDTH; }
DEVICE constexpr int b_begin(int l) { return (l - 1) * WIDTH; }
constexpr int W_SIZE = WIDTH * N0 + (L - 2) * WIDTH * WIDTH + OUT * WIDTH, B_SIZE = (L - 1) * WIDTH + OUT;
constexpr int ROW = W_SIZE + B_SIZE + 2;

// What a block keeps in shared memory
constexpr int A_ROW = padded_row<Stored>(TILE);
constexpr int W1_PLACE = WIDTH * padded_row<Stored>(N0), W_ROW = padded_row<Stored>(WIDTH);
constexpr int A_PLACE = W1_PLACE + ((L - 2) * WIDTH + OUT) * W_ROW;
constexpr int STORED = A_PLACE + (N0 + (L - 1) * WIDTH + OUT) * A_ROW;

struct Block {
    float* shared;
    MEMBER Stored* stored() const { return (Stored*)shared; }
    MEMBER float* floats() const { return (float*)(stored() + STORED); }
    MEMBER Matrix<Stored> W(int l) const {
        return {stored() + (l == 1 ? 0 : W1_PLACE + (l - 2) * WIDTH * W_ROW), l == 1 ? padded_row<Stored>(N0) : W_ROW};
    }
    MEMBER Matrix<Stored> A(int l) const {
        return {stored() + A_PLACE + (l == 0 ? 0 : N0 + (l - 1) * WIDTH) * A_ROW, A_ROW};
    }
    // a tile of X; where that is W[1] A[0], A[1] takes its place
    MEMBER Matrix<Stored> X() const { return A(0); }
    MEMBER Matrix<Stored> dZ(int l) const { return A(l); }  // for l = L, where no A is kept, a place of its own
    MEMBER Matrix<float> Z_L() const { return {floats(), TILE}; }
    MEMBER float* b(int l) const { return floats() + OUT * TILE + b_begin(l); }
    MEMBER float* of_warps() const { return floats() + OUT * TILE + B_SIZE; }
    MEMBER int bytes() const { return (char*)(of_warps() + 2 * WARPS) - (char*)shared; }
};

DEVICE constexpr int larger(int x, int y) { return x > y ? x : y; }
typedef Fragments<larger(down(WIDTH, 2), down(OUT, 2)),
                  larger(across(WIDTH, TILE, 2), across(OUT, TILE, 2))> OfExamples;
typedef Fragments<larger(down(WIDTH, 4), down(OUT, 4)),
                  larger(larger(across(WIDTH, N0, 4), across(WIDTH, WIDTH, 4)), across(OUT, WIDTH, 4))> OfWeights;
constexpr int THREADS_PER_ROW = THREADS / 4 >= larger(WIDTH, OUT) ? 4 : 2;  // in a sum over examples

// ---------------------------------------------------------------------------------------------------- activations

DEVICE int activation(int l) {
    const int of[] = {ACTIVATIONS};
    return of[l - 1];
}

DEVICE float sigmoid(float Z) { return 1 / (1 + exponential(-Z)); }

DEVICE float g(int l, float Z) {
    switch (activation(l)) {
        case SIGMOID: return sigmoid(Z);
        case TANH: return tanhf(Z);
        case RELU: return Z < 0 ? 0 : Z;
        case LEAKY_RELU: return Z >= 0 ? Z : 0.01f * Z;
        case ELU: return Z > 0 ? Z : expm1f(Z);
        default: return Z;
    }
}

// g'(Z) as a function of A = g(Z)
DEVICE float g_prime(int l, float A) {
    switch (activation(l)) {
        case SIGMOID: return A * (1 - A);
        case TANH: return (1 - A) * (1 + A);
        case RELU: return A > 0 ? 1 : 0;
        case LEAKY_RELU: return A >= 0 ? 1 : 0.01f;
        case ELU: return A > 0 ? 1 : A + 1;
        default: return 1;
    }
}

// ----------------------------------------------------------------------------------------------- forward, layer l

// Z[l] = W[l] A[l-1] + b[l]
DEVICE void weighted_input(int l, OfExamples& Z, const Part& part, const Block& block) {
    const float* b = block.b(l);
    Z.each_pair(part, [&](int row, int, float& z, float& z_beside) { z = z_beside = b[row]; });
    add_product<false, false>(Z, part, block.W(l), block.A(l - 1), n(l - 1));
    if (WIDE && l == 1) Z.each_pair(part, [&](int row, int column, float& z, float& z_beside) {
        const float2 product = pair_at(&block.X()(row, column));
        z += product.x, z_beside += product.y;
    });
}

// A[l] = g[l](Z[l])
DEVICE void activate(int l, OfExamples& Z, const Part& part, const Block& block) {
    const Matrix<Stored> A = block.A(l);
    Z.each_pair(part, [&](int row, int column, float& z, float& z_beside) {
        store_pair(&A(row, column), g(l, z), g(l, z_beside));
    });
}

// -------------------------------------------------------------------------------------------- the output and cost

// One example's column of Z[L], A[L] and Y
struct Output {
    const Matrix<float>& Z_L;
    const Target* targets;
    int column, example, m;
    float largest, total;  // of the softmax: max Z and sum exp(Z - max Z)

    MEMBER float Z(int i) const { return Z_L(i, column); }
    MEMBER float Y(int i) const {
        return INDICES ? targets[example] == i : value(targets[(long long)i * m + example]);
    }
    // A[L] = g[L](Z[L]); for the softmax exp(Z) over its sum over the outputs
    MEMBER float A(int i) const {
        return activation(L) == SOFTMAX ? exponential(Z(i) - largest) / total : g(L, Z(i));
    }
    MEMBER void prepare() {
        largest = Z(0), total = 0;
        if (activation(L) != SOFTMAX) return;
        for (int i = 1; i < OUTPUTS; i++) largest = fmaxf(largest, Z(i));
        for (int i = 0; i < OUTPUTS; i++) total += exponential(Z(i) - largest);
    }
    // The sum of the targets: 1 for a class index, NaN for one outside 0..n_L-1
    MEMBER float sum_Y() const {
        if (INDICES) return targets[example] >= 0 && targets[example] < OUTPUTS ? 1 : as_float(0x7fc00000u);
        float sum = 0;
        for (int i = 0; i < OUTPUTS; i++) sum += Y(i);
        return sum;
    }
};

DEVICE float softplus(float Z) { return fmaxf(Z, 0) + log1pf(exponential(-fabsf(Z))); }

// The term of output i in the loss
DEVICE float loss(const Output& out, int i) {
    const float Z = out.Z(i), Y = out.Y(i);
    if (COST == SQUARED_ERROR) return (out.A(i) - Y) * (out.A(i) - Y);
    if (COST == ABSOLUTE_ERROR) return fabsf(out.A(i) - Y);
    if (activation(L) == SIGMOID) return Y * softplus(-Z) + (1 - Y) * softplus(Z);
    // -log A = log sum exp(Z - z) - (Z - z), with z = max Z
    return Y == 0 ? 0 : Y * (logf(out.total) - (Z - out.largest));
}

// dA[L] of output i; that of |a - y| is 0 at a tie
DEVICE float dA(const Output& out, int i) {
    const float difference = out.A(i) - out.Y(i);
    if (COST == SQUARED_ERROR) return 2 * difference;
    return difference > 0 ? 1 : difference < 0 ? -1 : difference;
}

// dZ[L] of output i; `sum` is that of Y for a cross-entropy, and otherwise that of A * dA
DEVICE float dZ(const Output& out, int i, float sum) {
    // A sum(Y) - Y, which is A - Y for targets that sum to 1
    if (COST == CROSS_ENTROPY && activation(L) == SOFTMAX) return out.A(i) * sum - out.Y(i);
    // A - Y = (1-Y) A - Y (1-A), with 1 - A = sigmoid(-Z): no cancellation where A rounds to Y
    if (COST == CROSS_ENTROPY) return (1 - out.Y(i)) * out.A(i) - out.Y(i) * sigmoid(-out.Z(i));
    if (activation(L) == SOFTMAX) return out.A(i) * (dA(out, i) - sum);
    // dA[L] * g[L]'(Z[L])
    return dA(out, i) * g_prime(L, out.A(i));
}

// Returns w loss of one example and stores w dZ[L]: both 0, selected and not multiplied, where w is 0
DEVICE float output(const Block& block, const Target* targets, int column, int example, int m, float w) {
    const Matrix<Stored> dZ_L = block.dZ(L);
    const Matrix<float> Z_L = block.Z_L();
    Output out = {Z_L, targets, column, example, m, 0, 0};
    float C = 0, sum = 0;
    if (w != 0) {
        out.prepare();
        for (int i = 0; i < OUTPUTS; i++) C += loss(out, i);
        if (COST == CROSS_ENTROPY)
            sum = out.sum_Y();
        else if (activation(L) == SOFTMAX)
            for (int i = 0; i < OUTPUTS; i++) sum += out.A(i) * dA(out, i);
        if (INDICES) C *= sum;
    }
    for (int i = 0; i < OUT; i++) store(&dZ_L(i, column), w != 0 && i < OUTPUTS ? dZ(out, i, sum) * w : 0);
    return C * w;
}

// ---------------------------------------------------------------------------------------------- backward, layer l

// dW[l] += dZ[l] A[l-1]^T
DEVICE void add_weight_gradient(int l, OfWeights& dW, const Block& block) {
    add_product<false, true>(dW, part_of_warp(n(l), n(l - 1), 4), block.dZ(l), block.A(l - 1), TILE);
}

// db[l] += sum over examples of dZ[l]
DEVICE void add_bias_gradient(int l, float& db, const Block& block) {
    const Matrix<Stored> dZ = block.dZ(l);
    const int row = threadIdx.x / THREADS_PER_ROW;
    if (row < n(l)) for (int i = threadIdx.x % THREADS_PER_ROW; i < TILE; i += THREADS_PER_ROW) db += value(dZ(row, i));
}

// dA[l-1] = W[l]^T dZ[l]
DEVICE void back_through_weights(int l, OfExamples& dA, const Part& part, const Block& block) {
    dA.each_pair(part, [](int, int, float& d, float& d_beside) { d = d_beside = 0; });
    add_product<true, false>(dA, part, block.W(l), block.dZ(l), n(l));
}

// dZ[l] = dA[l] * g[l]'(Z[l]), in the place of A[l]
DEVICE void back_through_activation(int l, OfExamples& dA, const Part& part, const Block& block) {
    const Matrix<Stored> A = block.A(l), dZ = block.dZ(l);
    dA.each_pair(part, [&](int row, int column, float& d, float& d_beside) {
        const float2 a = pair_at(&A(row, column));
        store_pair(&dZ(row, column), d * g_prime(l, a.x), d_beside * g_prime(l, a.y));
    });
}

// The tile's columns of dZ[1], for the caller's dW[1] = dZ[1] A[0]^T
DEVICE void write_dZ_1(const Block& block, Stored* dZ_1, int first, int m) {
    UNROLL_BY(1) for (int i = threadIdx.x; i < INPUTS * TILE; i += THREADS) {
        const int row = i / TILE, column = i % TILE;
        if (first + column < m) dZ_1[(long long)row * m + first + column] = block.dZ(1)(row, column);
    }
}

// ----------------------------------------------------------------------------------------------------- the kernel

DEVICE void load_parameters(const Block& block, const float* W, const float* b) {
    for (int l = 1; l <= L; l++) for (int i = threadIdx.x; i < n(l) * n(l - 1); i += THREADS)
        store(&block.W(l)(i / n(l - 1), i % n(l - 1)), W[W_begin(l) + i]);
    for (int i = threadIdx.x; i < B_SIZE; i += THREADS) block.b(1)[i] = b[i];
}

// One row of `sums`: dW[1..L], db[1..L], the cost and the weight
DEVICE void write_sums(float* row, OfWeights* dW, float* db, float cost, float weight, const Block& block) {
    UNROLL for (int l = 1; l <= L; l++) {
        float* place = row + W_begin(l);
        dW[l].each_pair(part_of_warp(n(l), n(l - 1), 4), [&](int i, int j, float& d, float& d_beside) {
            place[i * n(l - 1) + j] = d, place[i * n(l - 1) + j + 1] = d_beside;
        });
        for (int k = 1; k < THREADS_PER_ROW; k *= 2) db[l] += from_lane_xor(db[l], k);
        if (threadIdx.x % THREADS_PER_ROW == 0 && threadIdx.x / THREADS_PER_ROW < n(l))
            row[W_SIZE + b_begin(l) + threadIdx.x / THREADS_PER_ROW] = db[l];
    }
    for (int k = 1; k < 32; k *= 2) cost += from_lane_xor(cost, k), weight += from_lane_xor(weight, k);
    float* of_warps = block.of_warps();
    if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = cost, of_warps[WARPS + threadIdx.x / 32] = weight;
    __syncthreads();
    if (threadIdx.x < 2) {
        float sum = 0;
        for (int warp = 0; warp < WARPS; warp++) sum += of_warps[threadIdx.x * WARPS + warp];
        row[W_SIZE + B_SIZE + threadIdx.x] = sum;
    }
}

extern "C" __global__ void LAUNCH_BOUNDS(THREADS)
fused(const float* __restrict__ W, const float* __restrict__ b, const Stored* __restrict__ X,
      const Target* __restrict__ Y, const float* __restrict__ weights, const int* __restrict__ m,
      float* __restrict__ sums
#if N0 == 0
      , Stored* __restrict__ dZ_1
#endif
) {
    SHARED(shared);
    const Block block = {shared};
    const Examples examples = {weights, *m};
    const int tiles = (*m + TILE - 1) / TILE;

    OfWeights dW[L + 1] = {};
    float db[L + 1] = {}, cost = 0, weight = 0;
    load_parameters(block, W, b);
    Incoming next;
    if (AHEAD) next.load(X, examples, blockIdx.x * TILE);
    for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        __syncthreads();  // nothing of the tile before is read any more
        if (AHEAD)
            next.store(block.X());
        else
            load_tile(X, examples, tile * TILE, block.X());
        if (AHEAD && tile + gridDim.x < tiles) next.load(X, examples, (tile + gridDim.x) * TILE);
        __syncthreads();

        UNROLL for (int l = 1; l <= L; l++) {
            OfExamples Z;
            const Part part = part_of_warp(n(l), TILE, 2);
            weighted_input(l, Z, part, block);
            if (l < L)
                activate(l, Z, part, block);
            else
                Z.each_pair(part, [&](int row, int column, float& z, float& z_beside) {
                    block.Z_L()(row, column) = z, block.Z_L()(row, column + 1) = z_beside;
                });
            __syncthreads();
        }

        if (threadIdx.x < TILE) {
            const int example = tile * TILE + threadIdx.x;
            const float w = examples.weight(example);
            cost += output(block, Y, threadIdx.x, example, *m, w), weight += w;
        }
        __syncthreads();

        UNROLL for (int l = L; l > 0; l--) {
            add_weight_gradient(l, dW[l], block);
            add_bias_gradient(l, db[l], block);
            if (l == 1) break;
            OfExamples dA;
            const Part part = part_of_warp(n(l - 1), TILE, 2);
            back_through_weights(l, dA, part, block);
            __syncthreads();  // dW[l] has been formed from A[l-1], which dZ[l-1] now replaces
            back_through_activation(l - 1, dA, part, block);
            __syncthreads();
        }
#if N0 == 0
        write_dZ_1(block, dZ_1, tile * TILE, *m);
#endif
    }
    write_sums(sums + (long long)blockIdx.x * ROW, dW, db, cost, weight, block);
}
