// Kernels of the tiled correlation. One thread per position of a tile; compiled at run time by NVRTC through CuPy,
// and by nvcc in a test.

// Scale each template's correlation by 1 / local standard deviation and keep the largest score and its search image.
//
// product  (count, fy, fx)      correlations of `count` templates with the tile
// sigma    (count) addresses    of (vy, vx) float arrays, 1 / local standard deviation under each template's mask
// ks       (count)              search images, ascending: the smaller one keeps a tie
// rects    (count, 4)           first and last + 1 row, first and last + 1 column in which a template is scored
// best     (height, width)      largest score so far
// index    (height, width)      the search image that reached it
// inverted, inverted_index      the same of the negated scores; null pointers where they are not wanted
template <typename real>
__device__ void score_maximum(const real *product, const unsigned long long *sigma, const int *ks, const int *rects,
                              int count, int fy, int fx, int vx, int height, int width, float *best, int *index,
                              float *inverted, int *inverted_index)
{
    const int x = blockIdx.x * blockDim.x + threadIdx.x;
    const int y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= width || y >= height) return;
    const size_t here = (size_t)y * width + x;
    float highest = best[here];
    int holder = index[here];
    float lowest = inverted ? -inverted[here] : 0;
    int low_holder = inverted ? inverted_index[here] : -1;
    for (int i = 0; i < count; ++i) {
        const int *rect = rects + 4 * i;
        if (y < rect[0] || y >= rect[1] || x < rect[2] || x >= rect[3]) continue;
        const float *scale = (const float *)sigma[i];
        const float score = (float)(product[((size_t)i * fy + y) * fx + x] * scale[(size_t)y * vx + x]);
        if (score > highest || (score == highest && ks[i] < holder)) {
            highest = score;
            holder = ks[i];
        }
        if (inverted && (score < lowest || (score == lowest && ks[i] < low_holder))) {
            lowest = score;
            low_holder = ks[i];
        }
    }
    best[here] = highest;
    index[here] = holder;
    if (inverted) {
        inverted[here] = -lowest;
        inverted_index[here] = low_holder;
    }
}

// 1 / sqrt(mean square - mean^2), 0 where the variance does not exceed `smallest`; (count, fy, fx) -> (count, vy, vx).
template <typename real>
__device__ void reciprocal_deviation(const real *mean, const real *square, real smallest, int count, int fy, int fx,
                                     int vy, int vx, float *out)
{
    const int x = blockIdx.x * blockDim.x + threadIdx.x;
    const int y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= vx || y >= vy) return;
    for (int i = 0; i < count; ++i) {
        const size_t from = ((size_t)i * fy + y) * fx + x;
        const real variance = square[from] - mean[from] * mean[from];
        out[((size_t)i * vy + y) * vx + x] = variance > smallest ? (float)(1 / sqrt(variance)) : 0.0f;
    }
}

extern "C" __global__ void score_maximum_single(const float *product, const unsigned long long *sigma, const int *ks,
                                                const int *rects, int count, int fy, int fx, int vx, int height,
                                                int width, float *best, int *index, float *inverted,
                                                int *inverted_index)
{
    score_maximum<float>(product, sigma, ks, rects, count, fy, fx, vx, height, width, best, index, inverted,
                         inverted_index);
}

extern "C" __global__ void score_maximum_double(const double *product, const unsigned long long *sigma, const int *ks,
                                                const int *rects, int count, int fy, int fx, int vx, int height,
                                                int width, float *best, int *index, float *inverted,
                                                int *inverted_index)
{
    score_maximum<double>(product, sigma, ks, rects, count, fy, fx, vx, height, width, best, index, inverted,
                         inverted_index);
}

extern "C" __global__ void reciprocal_deviation_single(const float *mean, const float *square, float smallest,
                                                       int count, int fy, int fx, int vy, int vx, float *out)
{
    reciprocal_deviation<float>(mean, square, smallest, count, fy, fx, vy, vx, out);
}

extern "C" __global__ void reciprocal_deviation_double(const double *mean, const double *square, double smallest,
                                                       int count, int fy, int fx, int vy, int vx, float *out)
{
    reciprocal_deviation<double>(mean, square, smallest, count, fy, fx, vy, vx, out);
}
