// Kernels of the tiled correlation: an inverse transform of its own, fused with what comes before and after it.
//
// Only exp(+2 pi i) transforms occur, none of them normalised. Two real correlations share one complex transform: the
// spectra of templates a and b are kept as conj(A) + i conj(B), so that the product with a tile's spectrum transforms
// to the correlation with a in the real part and with b in the imaginary part.
//
// Compiled at run time by NVRTC, and as C++ by a test. Given by the host:
//   REAL               float or double
//   FY, HELD_Y, RADICES_Y  length of the columns, elements that a thread holds, radices; the product of the radices
//                      is FY, and each divides HELD_Y
//   FX, HELD_X, RADICES_X  the same for the rows
//   COLUMNS, ROWS      columns and rows of a tile that a block transforms
//   BLOCKS_Y, BLOCKS_X   blocks of columns and of rows that a multiprocessor is to run at a time
//   SCORE              (shared, inverted) to compile the kernel of scores, and no other
//   DOUBLE             defined where REAL is double

struct alignas(2 * sizeof(REAL)) Complex {
    REAL x, y;
};

__device__ inline Complex operator+(Complex a, Complex b) { return {a.x + b.x, a.y + b.y}; }
__device__ inline Complex operator-(Complex a, Complex b) { return {a.x - b.x, a.y - b.y}; }
__device__ inline Complex operator*(Complex a, Complex b) { return {a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x}; }

template <int I>
struct Number {
    static constexpr int value = I;
};

// Call f(Number<I>()) for I = BEGIN ... END - 1: what a loop counter would be, known to the compiler.
template <int BEGIN, int END, typename F>
__device__ inline void for_each(const F &f)
{
    if constexpr (BEGIN < END) {
        f(Number<BEGIN>());
        for_each<BEGIN + 1, END>(f);
    }
}

// cos(2 pi m / n) and sin(2 pi m / n), by Taylor's series, at compile time.
__host__ __device__ constexpr double series(double angle, int first)
{
    double sum = 0, term = first ? angle : 1;
    for (int k = first; k < 60; k += 2) {
        sum += term;
        term *= -angle * angle / ((k + 1) * (k + 2));
    }
    return sum;
}
__host__ __device__ constexpr double angle(int m, int n) { return 6.283185307179586476925 * (2 * m > n ? m - n : m) / n; }

// v exp(2 pi i M / N)
template <int M, int N>
__device__ inline Complex turned(Complex v)
{
    constexpr int m = M % N;
    if constexpr (m == 0)
        return v;
    else if constexpr (2 * m == N)
        return {-v.x, -v.y};
    else if constexpr (4 * m == N)
        return {-v.y, v.x};
    else if constexpr (4 * m == 3 * N)
        return {v.y, -v.x};
    else if constexpr (8 * m % N == 0) {
        constexpr REAL half = REAL(0.70710678118654752440);
        constexpr REAL c = 8 * m == N || 8 * m == 7 * N ? half : -half, s = 2 * m < N ? half : -half;
        const Complex sum = {v.x * c, v.y * c};
        if constexpr ((c > 0) == (s > 0))
            return {sum.x - sum.y, sum.x + sum.y};
        else
            return {sum.x + sum.y, sum.y - sum.x};
    } else {
        constexpr REAL c = REAL(series(angle(m, N), 0)), s = REAL(series(angle(m, N), 1));
        return {v.x * c - v.y * s, v.x * s + v.y * c};
    }
}

template <int R>
__host__ __device__ constexpr int first_factor()
{
    return R % 4 == 0 ? 4 : R % 2 == 0 ? 2 : R % 3 == 0 ? 3 : R % 5 == 0 ? 5 : R;
}

// Transform v in place, elements in natural order.
template <int R>
__device__ inline void transform(Complex (&v)[R])
{
    if constexpr (R == 2) {
        const Complex a = v[0], b = v[1];
        v[0] = a + b, v[1] = a - b;
    } else if constexpr (R == 3) {
        constexpr REAL s = REAL(0.86602540378443864676);
        const Complex a = v[0], sum = v[1] + v[2], difference = v[1] - v[2];
        const Complex middle = {a.x - sum.x / 2, a.y - sum.y / 2};
        v[0] = a + sum;
        v[1] = {middle.x - s * difference.y, middle.y + s * difference.x};
        v[2] = {middle.x + s * difference.y, middle.y - s * difference.x};
    } else if constexpr (R == 4) {
        const Complex a = v[0] + v[2], b = v[0] - v[2], c = v[1] + v[3], d = turned<1, 4>(v[1] - v[3]);
        v[0] = a + c, v[1] = b + d, v[2] = a - c, v[3] = b - d;
    } else if constexpr (R == 5) {
        constexpr REAL c1 = REAL(series(angle(1, 5), 0)), c2 = REAL(series(angle(2, 5), 0));
        constexpr REAL s1 = REAL(series(angle(1, 5), 1)), s2 = REAL(series(angle(2, 5), 1));
        const Complex a = v[0], b = v[1] + v[4], c = v[2] + v[3], d = v[1] - v[4], e = v[2] - v[3];
        const Complex p = {a.x + c1 * b.x + c2 * c.x, a.y + c1 * b.y + c2 * c.y};
        const Complex q = {a.x + c2 * b.x + c1 * c.x, a.y + c2 * b.y + c1 * c.y};
        const Complex r = {-(s1 * d.y + s2 * e.y), s1 * d.x + s2 * e.x};
        const Complex s = {-(s2 * d.y - s1 * e.y), s2 * d.x - s1 * e.x};
        v[0] = a + b + c, v[1] = p + r, v[4] = p - r, v[2] = q + s, v[3] = q - s;
    } else if constexpr (R > 1) {
        constexpr int A = first_factor<R>(), B = R / A;
        static_assert(A < R, "a radix has the prime factors 2, 3 and 5");
        for_each<0, B>([&](auto n) {
            Complex part[A];
            for_each<0, A>([&](auto m) { part[m.value] = v[m.value * B + n.value]; });
            transform<A>(part);
            for_each<0, A>([&](auto k) {
                v[k.value * B + n.value] = turned<decltype(k)::value * decltype(n)::value, R>(part[k.value]);
            });
        });
        Complex out[R];
        for_each<0, A>([&](auto k) {
            Complex part[B];
            for_each<0, B>([&](auto n) { part[n.value] = v[k.value * B + n.value]; });
            transform<B>(part);
            for_each<0, B>([&](auto n) { out[k.value + A * n.value] = part[n.value]; });
        });
        for_each<0, R>([&](auto k) { v[k.value] = out[k.value]; });
    }
}

// Multiply v[r] by w^r.
template <int R>
__device__ inline void twist(Complex (&v)[R], Complex w)
{
    Complex power[R];
    power[1] = w;
    for_each<2, R>([&](auto r) { power[r.value] = power[r.value / 2] * power[r.value - r.value / 2]; });
    for_each<1, R>([&](auto r) { v[r.value] = v[r.value] * power[r.value]; });
}

template <int R, int...>
struct First {
    static constexpr int value = R;
};
template <int R, int... REST>
struct Last {
    static constexpr int value = Last<REST...>::value;
};
template <int R>
struct Last<R> {
    static constexpr int value = R;
};

// One transform of N elements by N / HELD threads, each of which holds HELD (Stockham's method, in place in `shared`).
template <int N, int HELD, int... RADICES>
struct Transform {
    static constexpr int threads = N / HELD;
    static constexpr int first = First<RADICES...>::value, last = Last<RADICES...>::value;
    static constexpr int room = N + N / first;

    // An element's place in shared memory, with room in between against bank conflicts. All steps from one element of
    // a thread to another are multiples of the first radix, so their places are a constant apart.
    static __device__ constexpr int place(int element) { return element + element / first; }

    // The element that a thread's number n holds before and after.
    static __device__ int input(int thread, int n) { return thread + threads * (n / first) + n % first * (N / first); }
    static __device__ int output(int thread, int n) { return thread + threads * (n / last) + n % last * (N / last); }

    // `shared` has `room` elements, `stride` apart; `roots` are exp(2 pi i k / N). For all threads of a block.
    static __device__ void run(Complex (&v)[HELD], int thread, Complex *shared, int stride, const Complex *roots)
    {
        stages<1, RADICES...>(v, thread, shared, stride, roots);
    }

    template <int S, int R, int... REST>
    static __device__ inline void stages(Complex (&v)[HELD], int thread, Complex *shared, int stride,
                                         const Complex *roots)
    {
        static_assert(HELD % R == 0, "a radix divides the number of elements that a thread holds");
        for_each<0, HELD / R>([&](auto i) {
            Complex part[R];
            for_each<0, R>([&](auto r) { part[r.value] = v[i.value * R + r.value]; });
            if constexpr (S > 1) twist<R>(part, roots[(thread + threads * i.value) % S * (N / (S * R))]);
            transform<R>(part);
            for_each<0, R>([&](auto r) { v[i.value * R + r.value] = part[r.value]; });
        });
        if constexpr (sizeof...(REST) > 0) {
            constexpr int next = First<REST...>::value;
            __syncthreads();
            for_each<0, HELD / R>([&](auto i) {
                const int b = thread + threads * i.value;
                Complex *to = shared + place(b / S * (S * R) + b % S) * stride;
                for_each<0, R>([&](auto r) {
                    to[(S == 1 ? r.value : place(r.value * S)) * stride] = v[i.value * R + r.value];
                });
            });
            __syncthreads();
            for_each<0, HELD / next>([&](auto i) {
                const Complex *from = shared + place(thread + threads * i.value) * stride;
                for_each<0, next>([&](auto r) { v[i.value * next + r.value] = from[place(r.value * (N / next)) * stride]; });
            });
            stages<S * R, REST...>(v, thread, shared, stride, roots);
        }
    }
};

using Columns = Transform<FY, HELD_Y, RADICES_Y>;
using Rows = Transform<FX, HELD_X, RADICES_X>;

extern __shared__ unsigned char memory[];

// Transform columns: blocks of (COLUMNS, FY / HELD_Y) threads, a grid of (images, columns / COLUMNS).
// `load(y, x)` gives an element of the image blockIdx.x, `store(y, x, value)` takes it.
template <typename Load, typename Store>
__device__ inline void columns(const Load &load, const Store &store, const Complex *roots)
{
    const int x = blockIdx.y * COLUMNS + threadIdx.x, thread = threadIdx.y;
    const bool inside = x < FX;
    Complex v[HELD_Y];
    for_each<0, HELD_Y>([&](auto n) { v[n.value] = load(Columns::input(thread, n.value), inside ? x : 0); });
    Columns::run(v, thread, (Complex *)memory + threadIdx.x, COLUMNS, roots);
    if (!inside) return;
    for_each<0, HELD_Y>([&](auto n) { store(Columns::output(thread, n.value), x, v[n.value]); });
}

#define COLUMN_KERNEL extern "C" __global__ void __launch_bounds__(COLUMNS *Columns::threads, BLOCKS_Y)
#define ROW_KERNEL extern "C" __global__ void __launch_bounds__(ROWS *Rows::threads, BLOCKS_X)

#ifndef SCORE

// Columns of `height` rows and zeros below, (n, height, FX) -> (n, FY, FX), optionally conjugated.
COLUMN_KERNEL forward_columns(const Complex *rows, Complex *out, int height, int conjugate, const Complex *roots)
{
    rows += (size_t)blockIdx.x * height * FX;
    out += (size_t)blockIdx.x * FY * FX;
    columns([&](int y, int x) { return y < height ? rows[(size_t)y * FX + x] : Complex{0, 0}; },
            [&](int y, int x, Complex v) { out[(size_t)y * FX + x] = {v.x, conjugate ? -v.y : v.y}; }, roots);
}

// Columns of a tile's product with each of n spectra, (FY, FX) and (n, FY, FX) -> (n, valid, FX).
COLUMN_KERNEL product_columns(const Complex *tile, const Complex *spectra, Complex *out, int valid,
                              const Complex *roots)
{
    spectra += (size_t)blockIdx.x * FY * FX;
    out += (size_t)blockIdx.x * valid * FX;
    columns([&](int y, int x) { return tile[(size_t)y * FX + x] * spectra[(size_t)y * FX + x]; },
            [&](int y, int x, Complex v) {
                if (y < valid) out[(size_t)y * FX + x] = v;
            },
            roots);
}

// The same of tile + i squares: means in the real part, mean squares in the imaginary part.
COLUMN_KERNEL moment_columns(const Complex *tile, const Complex *squares, const Complex *spectra, Complex *out,
                             int valid, const Complex *roots)
{
    spectra += (size_t)blockIdx.x * FY * FX;
    out += (size_t)blockIdx.x * valid * FX;
    columns(
        [&](int y, int x) {
            const Complex a = tile[(size_t)y * FX + x], b = squares[(size_t)y * FX + x];
            return Complex{a.x - b.y, a.y + b.x} * spectra[(size_t)y * FX + x];
        },
        [&](int y, int x, Complex v) {
            if (y < valid) out[(size_t)y * FX + x] = v;
        },
        roots);
}

// Rows of real images (count, height, width), zeros to their right, `together` (1 or 2) of them as real and imaginary
// part -> (count / together, height, FX). A grid of (rows / ROWS, images) blocks of (FX / HELD_X, ROWS) threads, as for
// all kernels of rows.
template <typename Source>
__device__ inline void forward_rows(const Source *images, Complex *out, int together, int count, int height, int width,
                                    const Complex *roots)
{
    const int y = blockIdx.x * ROWS + threadIdx.y, thread = threadIdx.x;
    const int image = together * blockIdx.y;
    const bool inside = y < height, paired = together == 2 && image + 1 < count;
    const size_t size = (size_t)height * width;
    const Source *from = images + image * size + (size_t)(inside ? y : 0) * width;
    Complex v[HELD_X];
    for_each<0, HELD_X>([&](auto n) {
        const int x = Rows::input(thread, n.value);
        v[n.value] = {x < width ? REAL(from[x]) : 0, x < width && paired ? REAL(from[size + x]) : 0};
    });
    Rows::run(v, thread, (Complex *)memory + threadIdx.y * Rows::room, 1, roots);
    if (!inside) return;
    out += ((size_t)blockIdx.y * height + y) * FX;
    for_each<0, HELD_X>([&](auto n) { out[Rows::output(thread, n.value)] = v[n.value]; });
}

ROW_KERNEL forward_rows_float(const float *images, Complex *out, int together, int count, int height,
                              int width, const Complex *roots)
{
    forward_rows(images, out, together, count, height, width, roots);
}

#ifdef DOUBLE
ROW_KERNEL forward_rows_real(const REAL *images, Complex *out, int together, int count, int height,
                             int width, const Complex *roots)
{
    forward_rows(images, out, together, count, height, width, roots);
}
#endif

// 1 / sqrt(mean square - mean^2), 0 where the variance does not exceed `smallest`, not a number outside of `rects`
// (n, 4): first row, last + 1, first column, last + 1. (n, vy, FX) -> (n, vy, FX)
ROW_KERNEL deviation_rows(const Complex *moments, const int *rects, REAL smallest, int vy, float *out,
                          const Complex *roots)
{
    const int y = blockIdx.x * ROWS + threadIdx.y, thread = threadIdx.x;
    const bool inside = y < vy;
    const size_t row = (size_t)blockIdx.y * vy + (inside ? y : 0);
    Complex v[HELD_X];
    for_each<0, HELD_X>([&](auto n) { v[n.value] = moments[row * FX + Rows::input(thread, n.value)]; });
    Rows::run(v, thread, (Complex *)memory + threadIdx.y * Rows::room, 1, roots);
    if (!inside) return;
    const int *rect = rects + 4 * blockIdx.y;
    for_each<0, HELD_X>([&](auto n) {
        const int x = Rows::output(thread, n.value);
        const REAL variance = v[n.value].y - v[n.value].x * v[n.value].x;
        const bool scored = y >= rect[0] && y < rect[1] && x >= rect[2] && x < rect[3];
        out[row * FX + x] = !scored ? (float)NOT_A_NUMBER : variance > smallest ? (float)(1 / sqrt(variance)) : 0.0f;
    });
}

#else

// The best score so far of each position that a thread holds, and its template's number in this launch + 1.
struct Best {
    float score[HELD_X];
    unsigned int place[(HELD_X + 3) / 4];  // four numbers of eight bits in each

    __device__ void clear()
    {
        for_each<0, HELD_X>([&](auto n) { score[n.value] = -2; });
        for_each<0, (HELD_X + 3) / 4>([&](auto n) { place[n.value] = 0; });
    }

    template <int N>
    __device__ void raise(float found, unsigned int number)
    {
        if (found > score[N]) {  // of equal scores the first stays; no comparison holds for what is not a number
            score[N] = found;
            place[N / 4] = (place[N / 4] & ~(255u << N % 4 * 8)) | (number << N % 4 * 8);
        }
    }

    template <int N>
    __device__ void write(const unsigned long long *ks, float *best, int *index, size_t here) const
    {
        const unsigned int number = place[N / 4] >> N % 4 * 8 & 255u;
        if (number == 0) return;
        const int k = (int)ks[number - 1];
        if (score[N] > best[here] || (score[N] == best[here] && k < index[here])) {
            best[here] = score[N];
            index[here] = k;
        }
    }
};

// Rows of correlations of `count` templates (up to 254), scaled by 1 / local standard deviation; keeps the largest
// score and its template, of equal scores the smaller k. A block walks over all templates of its rows.
//
// product  ((count + 1) / 2, height, FX)
// sigma    (count) addresses    of (vy, FX) float arrays: 1 / local standard deviation under each template's mask
// ks       (count)              numbers of the templates, ascending
// best, index, inverted, inverted_index  (height, width): largest score and its number; the same of negated scores
template <bool SHARED, bool INVERTED>
__device__ inline void score_rows(const Complex *product, const unsigned long long *sigma, const unsigned long long *ks,
                                  int count, int height, int width, float *best, int *index, float *inverted,
                                  int *inverted_index, const Complex *roots)
{
    const int y = blockIdx.x * ROWS + threadIdx.y, thread = threadIdx.x;
    const bool inside = y < height;
    const size_t row = inside ? y : 0;
    Best highest, lowest;
    highest.clear();
    if (INVERTED) lowest.clear();
    for (int i = 0; i < count; i += 2) {
        Complex v[HELD_X];
        const Complex *from = product + ((size_t)(i / 2) * height + row) * FX;
        for_each<0, HELD_X>([&](auto n) { v[n.value] = from[Rows::input(thread, n.value)]; });
        Rows::run(v, thread, (Complex *)memory + threadIdx.y * Rows::room, 1, roots);
        const bool paired = i + 1 < count;
        const float *scale_a = (const float *)sigma[SHARED ? 0 : i] + row * FX;
        const float *scale_b = SHARED ? scale_a : (const float *)sigma[paired ? i + 1 : i] + row * FX;
        for_each<0, HELD_X>([&](auto n) {  // beyond the width too: written nowhere
            const int x = Rows::output(thread, n.value);
            const float a = (float)(v[n.value].x * scale_a[x]);
            highest.template raise<n.value>(a, i + 1);
            if (INVERTED) lowest.template raise<n.value>(-a, i + 1);
            if (!paired) return;
            const float b = (float)(v[n.value].y * scale_b[x]);
            highest.template raise<n.value>(b, i + 2);
            if (INVERTED) lowest.template raise<n.value>(-b, i + 2);
        });
    }
    if (!inside) return;
    for_each<0, HELD_X>([&](auto n) {
        const int x = Rows::output(thread, n.value);
        if (x >= width) return;
        highest.template write<n.value>(ks, best, index, row * width + x);
        if (INVERTED) lowest.template write<n.value>(ks, inverted, inverted_index, row * width + x);
    });
}

ROW_KERNEL score(const Complex *product, const unsigned long long *sigma, const unsigned long long *ks, int count,
                 int height, int width, float *best, int *index, float *low, int *low_index, const Complex *roots)
{
    score_rows<SCORE>(product, sigma, ks, count, height, width, best, index, low, low_index, roots);
}

#endif
