// How the products of fused.cu run: tensor cores, the layout of shared memory, and the parts that warps take.
//
// A product is made of mma.sync instructions (sm_80 on), each for 16 by 8 numbers of the result, whose lanes hold the
// fragments that PTX describes. With g = lane / 4 and t = lane % 4, a lane holds the numbers (g, 2t), (g, 2t + 1),
// (g + 8, 2t) and (g + 8, 2t + 1) of the result.
#ifdef EMULATE
#include "emulate.h"
#else
typedef unsigned int uint32_t;
#define DEVICE static __device__ __forceinline__
#define MEMBER __device__ __forceinline__
#define PRAGMA(x) _Pragma(#x)
#define UNROLL PRAGMA(unroll)
#define UNROLL_BY(n) PRAGMA(unroll n)
#define LAUNCH_BOUNDS(n) __launch_bounds__(n, 1)
#define SHARED(s) extern __shared__ __align__(16) float s[]
DEVICE float from_lane_xor(float x, int k) { return __shfl_xor_sync(0xffffffffu, x, k); }
DEVICE uint32_t as_bits(float x) { return __float_as_uint(x); }
DEVICE float as_float(uint32_t x) { return __uint_as_float(x); }
DEVICE uint32_t to_tf32(float x) { uint32_t r; asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(x)); return r; }
DEVICE uint32_t to_bfloat16s(float low, float high) {
    uint32_t r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
}
#define MMA(name, kind)                                                                                             \
    DEVICE void name(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {                               \
        asm volatile("mma.sync.aligned." kind " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"              \
                     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                                               \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                           \
    }
MMA(mma_tf32, "m16n8k8.row.col.f32.tf32.tf32.f32")
MMA(mma_bfloat16, "m16n8k16.row.col.f32.bf16.bf16.f32")
#endif

enum { TF32, FLOAT32, BFLOAT16 };
constexpr int THREADS = 256, WARPS = THREADS / 32;
constexpr bool WIDE = N0 == 0;
constexpr int ROWS_OF_X = WIDE ? WIDTH : N0;
constexpr int STEP = PRECISION == BFLOAT16 ? 16 : 8;  // of the inner index, in one mma

// Numbers in shared memory: float, in TF32 already rounded, or bfloat16
typedef unsigned short bfloat16;
template <bool, class Then, class Else> struct Chosen { typedef Then type; };
template <class Then, class Else> struct Chosen<false, Then, Else> { typedef Else type; };
typedef Chosen<PRECISION == BFLOAT16, bfloat16, float>::type Stored;

DEVICE float rounded(float x) { return PRECISION == TF32 ? as_float(to_tf32(x)) : x; }
DEVICE float value(int x) { return x; }
DEVICE float value(float x) { return x; }
DEVICE float value(bfloat16 x) { return as_float((uint32_t)x << 16); }
DEVICE void store(float* p, float x) { *p = rounded(x); }
DEVICE void store(bfloat16* p, float x) { *p = (bfloat16)to_bfloat16s(x, 0); }
DEVICE void store_pair(float* p, float x, float y) {
    float2 pair = {rounded(x), rounded(y)};
    *(float2*)p = pair;
}
DEVICE void store_pair(bfloat16* p, float x, float y) { *(uint32_t*)p = to_bfloat16s(x, y); }
DEVICE float2 pair_at(const float* p) { return *(const float2*)p; }
DEVICE float2 pair_at(const bfloat16* p) {
    float2 pair = {value(p[0]), value(p[1])};
    return pair;
}

// Four neighbours on their way from global to shared memory, the i-th of them only where there is one
struct FourFloats {
    float4 x;
    MEMBER void load(const float* p) { x = *(const float4*)p; }
    template <class F> MEMBER void load(const float* p, F there) {
        x.x = there(0) ? p[0] : 0, x.y = there(1) ? p[1] : 0, x.z = there(2) ? p[2] : 0, x.w = there(3) ? p[3] : 0;
    }
    template <class F> MEMBER void keep(F there) {
        x.x = there(0) ? x.x : 0, x.y = there(1) ? x.y : 0, x.z = there(2) ? x.z : 0, x.w = there(3) ? x.w : 0;
    }
    MEMBER void store(float* p) const {
        float4 four = {rounded(x.x), rounded(x.y), rounded(x.z), rounded(x.w)};
        *(float4*)p = four;
    }
};
struct FourBfloat16s {
    uint2 x;
    MEMBER void load(const bfloat16* p) { x = *(const uint2*)p; }
    template <class F> MEMBER void load(const bfloat16* p, F there) {
        x.x = (there(0) ? p[0] : 0u) | (there(1) ? p[1] : 0u) << 16;
        x.y = (there(2) ? p[2] : 0u) | (there(3) ? p[3] : 0u) << 16;
    }
    template <class F> MEMBER void keep(F there) {
        x.x &= (there(0) ? 0xffffu : 0) | (there(1) ? 0xffff0000u : 0);
        x.y &= (there(2) ? 0xffffu : 0) | (there(3) ? 0xffff0000u : 0);
    }
    MEMBER void store(bfloat16* p) const { *(uint2*)p = x; }
};
typedef Chosen<PRECISION == BFLOAT16, FourBfloat16s, FourFloats>::type Four;

// A matrix in shared memory, its rows padded to whole rounds over the 32 banks. The columns of a row are permuted, so
// that fragments are read along rows and along columns without bank conflicts; groups of four stay together.
template <class T> DEVICE constexpr int padded_row(int columns) {
    constexpr int banks = 128 / sizeof(T);
    return (columns + banks - 1) / banks * banks;
}
template <class T>
struct Matrix {
    T* numbers;
    int row_size;
    MEMBER T& operator()(int row, int column) const {
        int permuted = column ^ (((row & 3) << 3 | (row >> 2 & 1) << 2) * (4 / (int)sizeof(T)));
        return numbers[row * row_size + permuted];
    }
};

// What a lane contributes to an mma: N registers, and for FLOAT32 as many that hold what TF32 leaves out
template <int N>
struct Fragment {
    uint32_t big[N], small[N];
    // ALONG_ROW: the inner index, of which bfloat16 packs two neighbours, runs along the rows of M
    template <bool ALONG_ROW>
    MEMBER void load(int i, const Matrix<float>& M, int row, int column) {
        float x = M(row, column);
        if (PRECISION == FLOAT32) {
            // to the nearest: errors of one sign would add up. NaN may become 0 here, and then stays in `small`
            big[i] = (as_bits(x) + 0x1000u) & 0xffffe000u;
            small[i] = as_bits(x - as_float(big[i]));
        } else {
            big[i] = as_bits(x);
        }
    }
    template <bool ALONG_ROW>
    MEMBER void load(int i, const Matrix<bfloat16>& M, int row, int column) {
        if (ALONG_ROW)
            big[i] = *(const uint32_t*)&M(row, column);
        else
            big[i] = M(row, column) | (uint32_t)M(row + 1, column) << 16;
    }
};

DEVICE void multiply(float (&c)[4], const Fragment<4>& a, const Fragment<2>& b) {
    if (PRECISION == BFLOAT16) return mma_bfloat16(c, a.big, b.big);
    if (PRECISION == TF32) return mma_tf32(c, a.big, b.big);
    // Tensor cores cut sums off, and errors of one sign add up. So a long sum is formed outside of them
    float term[4] = {0, 0, 0, 0};
    mma_tf32(term, a.small, b.big), mma_tf32(term, a.big, b.small), mma_tf32(term, a.big, b.big);
    UNROLL for (int i = 0; i < 4; i++) c[i] += term[i];
}

// The part of a matrix that a warp holds in fragments: `down` by `across` of 16 by 8 numbers, from (row, column) on
struct Part {
    int row, column, down, across;
    bool none;
};
DEVICE constexpr int warps_down(int rows, int most) {
    return rows % 64 == 0 && most == 4 ? 4 : rows % 32 == 0 ? 2 : 1;
}
DEVICE constexpr int down(int rows, int most) { return rows / 16 / warps_down(rows, most); }
DEVICE constexpr int across(int rows, int columns, int most) {
    return (columns / 8 + WARPS / warps_down(rows, most) - 1) / (WARPS / warps_down(rows, most));
}
DEVICE Part part_of_warp(int rows, int columns, int most_down) {
    const int warp = threadIdx.x / 32, beside = WARPS / warps_down(rows, most_down);
    Part part;
    part.down = down(rows, most_down), part.across = across(rows, columns, most_down);
    part.row = warp / beside * part.down * 16, part.column = warp % beside * part.across * 8;
    part.none = part.column >= columns;
    return part;
}

template <int DOWN, int ACROSS>
struct Fragments {
    float of[DOWN][ACROSS][4];
    // f(row, column, x, y) for the lane's pairs of neighbours x at (row, column) and y at (row, column + 1)
    template <class F>
    MEMBER void each_pair(const Part& part, F f) {
        const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
        if (part.none) return;
        UNROLL for (int i = 0; i < DOWN; i++) UNROLL for (int j = 0; j < ACROSS; j++) {
            if (i >= part.down || j >= part.across) continue;
            const int row = part.row + i * 16 + g, column = part.column + j * 8 + 2 * t;
            f(row, column, of[i][j][0], of[i][j][1]);
            f(row + 8, column, of[i][j][2], of[i][j][3]);
        }
    }
};

// C += A B, a warp's part of it, for n columns of A. A is given by its transpose with A_T, and B with B_T.
template <bool A_T, bool B_T, int DOWN, int ACROSS>
DEVICE void add_product(Fragments<DOWN, ACROSS>& C, const Part& part, const Matrix<Stored>& A, const Matrix<Stored>& B,
                        int n) {
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    constexpr int each = STEP / 8;  // neighbours of the inner index in a register
    if (part.none) return;
    UNROLL_BY(UNROLLED) for (int k = 0; k < n; k += STEP) {
        Fragment<4> a[DOWN];
        UNROLL for (int i = 0; i < DOWN; i++) UNROLL for (int h = 0; h < 4; h++) if (i < part.down) {
            const int row = part.row + i * 16 + g + h % 2 * 8, inner = k + t * each + h / 2 * 4 * each;
            a[i].template load<!A_T>(h, A, A_T ? inner : row, A_T ? row : inner);
        }
        UNROLL for (int j = 0; j < ACROSS; j++) if (j < part.across) {
            Fragment<2> b;
            UNROLL for (int h = 0; h < 2; h++) {
                const int inner = k + t * each + h * 4 * each, column = part.column + j * 8 + g;
                b.template load<B_T>(h, B, B_T ? column : inner, B_T ? inner : column);
            }
            UNROLL for (int i = 0; i < DOWN; i++) if (i < part.down) multiply(C.of[i][j], a[i], b);
        }
    }
}

// The examples: columns of X and Y, and their weights. One of weight zero is absent, as are those past the last.
struct Examples {
    const float* weights;
    int m;
    MEMBER float weight(int example) const { return example >= m ? 0.0f : WEIGHTED ? weights[example] : 1.0f; }
};

// A tile of X, 0 where an example is absent, four neighbours for a thread at a time
DEVICE Four four_of_X(int four, const Stored* X, const Examples& examples, int first) {
    const int m = examples.m, row = four / (TILE / 4), e = first + four % (TILE / 4) * 4;
    const Stored* p = X + (long long)row * m + e;
    Four x;
    if (row < INPUTS && m % 4 == 0 && e < m)
        x.load(p);
    else
        x.load(p, [&](int k) { return row < INPUTS && e + k < m; });
    if (WEIGHTED) x.keep([&](int k) { return examples.weight(e + k) != 0; });
    return x;
}
DEVICE void store_four(int four, const Four& x, const Matrix<Stored>& A) {
    if (four < ROWS_OF_X * TILE / 4) x.store(&A(four / (TILE / 4), four % (TILE / 4) * 4));
}

// A tile of X that is read while the one before is computed on
struct Incoming {
    static constexpr int EACH = (ROWS_OF_X * TILE / 4 + THREADS - 1) / THREADS;
    Four fours[EACH];
    MEMBER void load(const Stored* X, const Examples& examples, int first) {
        UNROLL for (int i = 0; i < EACH; i++) fours[i] = four_of_X(threadIdx.x + i * THREADS, X, examples, first);
    }
    MEMBER void store(const Matrix<Stored>& A) const {
        UNROLL for (int i = 0; i < EACH; i++) store_four(threadIdx.x + i * THREADS, fours[i], A);
    }
};

DEVICE void load_tile(const Stored* X, const Examples& examples, int first, const Matrix<Stored>& A) {
    UNROLL_BY(1) for (int four = threadIdx.x; four < ROWS_OF_X * TILE / 4; four += THREADS)
        store_four(four, four_of_X(four, X, examples, first), A);
}

DEVICE float exponential(float x) { return PRECISION == FLOAT32 ? expf(x) : __expf(x); }
