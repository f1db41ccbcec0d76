"""What the sweep does with the products of a block, compiled into one pass (extra `speed`): each logit is made, weighed and added up
while it is in the core, and second codes are read for the images that they matter to, not for all.

Shape suffixes: b images, n leaves of the table, m leaves of the block, h hits, s stretches, d vector dimensions.
"""

from __future__ import annotations

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

# exp(x) is 2**n times a polynomial of what is left of x: coefficients of Cephes' expf, good to two units in the last place.
LOG2_E, LN2_HIGH, LN2_LOW = (np.float32(x) for x in (1.44269504088896341, 0.693359375, -2.12194440e-4))
C0, C1, C2, C3, C4, C5 = (
    np.float32(x)
    for x in (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
)
# Added and taken away again, it leaves a whole number.
WHOLE = np.float32(3 << 22)
LEAST, MOST = np.float32(-80.0), np.float32(88.0)
ONE, NOTHING = np.float32(1), np.float32(0)
# Bytes of a line of the cache.
LINE = 64
# Products may be added without being rounded before; no sum changes its order.
FAST = {"contract", "nsz", "nnan"}


@intrinsic
def _as_float(_typing, bits):
    """The float32 that has these 32 bits."""
    return types.float32(bits), lambda context, builder, _signature, args: builder.bitcast(
        args[0], context.get_value_type(types.float32)
    )


@intrinsic
def _fetch(_typing, array, row, column):
    """Has the cache line at this place of an array brought near."""

    def generate(context, builder, signature, args):
        kind = signature.args[0]
        made = context.make_array(kind)(context, builder, args[0])
        place = cgutils.get_item_pointer2(
            context,
            builder,
            made.data,
            cgutils.unpack_tuple(builder, made.shape),
            cgutils.unpack_tuple(builder, made.strides),
            kind.layout,
            args[1:],
        )
        pointer = builder.bitcast(place, ir.IntType(8).as_pointer())
        word = ir.IntType(32)
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [pointer.type, word, word, word]), "llvm.prefetch.p0i8"
        )
        builder.call(function, [pointer, word(0), word(3), word(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp), generate


@numba.njit(cache=True, fastmath=FAST)
def exp(x):
    """exp(x) in float32; of LEAST where x is less, of MOST where it is more."""
    x = min(max(x, LEAST), MOST)
    n = (x * LOG2_E + WHOLE) - WHOLE
    x = (x - n * LN2_HIGH) - n * LN2_LOW
    y = ((((C0 * x + C1) * x + C2) * x + C3) * x + C4) * x + C5
    return (y * (x * x) + (x + ONE)) * _as_float(np.int32((np.int32(n) + np.int32(127)) << np.int32(23)))


@numba.njit(cache=True, fastmath=FAST)
def _dot(a_d, b_d):
    """The product of two 8-bit vectors."""
    total = np.int32(0)
    for i in range(len(a_d)):
        total = np.int32(total + np.int32(np.int32(a_d[i]) * np.int32(b_d[i])))
    return total


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def pass_over(
    dot_m2b,
    rest_nd,
    row_m,
    scale_m,
    prior_m,
    first_bd,
    scale_b,
    reference_b,
    near_b,
    fine_b,
    hit_b,
    end_s,
    finer,
    lift,
    raised,
    details,
    sum_sb,
    largest_sb,
    square_b,
    weighted_b,
    row_h,
    image_h,
    logit_h,
):
    """The number of hits, -1 where second codes matter to as many pairs as `row_h` has room for, and that of the rows that were read.

    Logits are (dot_m2b[m, j] + dot_m2b[m, b + j] / finer) · scale_m · scale_b + prior_m (which may be empty). Above `fine_b`
    rest_nd[row_m[m]] / finer is read for that image; above `hit_b` the leaf goes into `row_h`, `image_h`, `logit_h`.
    Of the others `sum_sb` is the mass of each stretch, exp(logit - reference + lift), without `lift` where only first codes were read,
    and `raised` times as much from `near_b` to `fine_b`. `largest_sb` (it may be empty) has the largest logits without priors.
    To `square_b` the squares of masses of first codes are added, to `weighted_b` mass times log mass, less `lift` for these.
    """
    b, n_bytes, part = len(scale_b), rest_nd.shape[1], ONE / finer
    logit_b, mass_b, sum_b = np.empty(b, np.float32), np.empty(b, np.float32), np.empty(b, np.float32)
    squares_b, logs_b, largest_b = np.empty(b, np.float32), np.empty(b, np.float32), np.empty(b, np.float32)
    # the hits of a stretch and, behind them, what waits for its second codes
    n_hits, n_rows, m = 0, 0, 0
    for s in range(len(end_s)):
        sum_b[:], squares_b[:], logs_b[:], largest_b[:] = 0, 0, 0, -np.inf
        n_waiting = n_hits
        while m < end_s[s]:
            for j in range(b):
                dot = np.float32(dot_m2b[m, j]) + part * np.float32(dot_m2b[m, b + j])
                logit_b[j] = dot * scale_m[m] * scale_b[j]
            if len(largest_sb):
                for j in range(b):
                    largest_b[j] = max(largest_b[j], logit_b[j])
            if len(prior_m):
                for j in range(b):
                    logit_b[j] += prior_m[m]
            for j in range(b):
                mass_b[j] = exp(logit_b[j] - reference_b[j])
            n_above, which = np.int32(0), np.int32(0)
            for j in range(b):
                mass = mass_b[j] * (raised if logit_b[j] > near_b[j] else ONE)
                mass_b[j] = NOTHING if logit_b[j] > fine_b[j] else mass
                above = np.int32(logit_b[j] > fine_b[j])
                n_above += above
                which += above * np.int32(j)
            for j in range(b):
                sum_b[j] += mass_b[j]
                squares_b[j] += mass_b[j] * mass_b[j]
            if details:
                for j in range(b):
                    logs_b[j] += mass_b[j] * (max(logit_b[j] - reference_b[j], LEAST) - lift)
            if n_above:
                if n_waiting + n_above >= len(row_h):
                    return -1, n_rows
                n_rows += 1
                for i in range(0, n_bytes, LINE):
                    _fetch(rest_nd, row_m[m], i)
                if n_above == 1:
                    # as most often
                    row_h[n_waiting], image_h[n_waiting], logit_h[n_waiting] = m, which, logit_b[which]
                    n_waiting += 1
                else:
                    # each image's place is written before it is known whether it is kept
                    for j in range(b):
                        row_h[n_waiting], image_h[n_waiting], logit_h[n_waiting] = m, j, logit_b[j]
                        n_waiting += logit_b[j] > fine_b[j]
            m += 1
        for h in range(n_hits, n_waiting):
            row, j = row_h[h], image_h[h]
            fine = np.float32(_dot(rest_nd[row_m[row]], first_bd[j])) * part
            logit = logit_h[h] + fine * scale_m[row] * scale_b[j]
            if logit > hit_b[j]:
                row_h[n_hits], image_h[n_hits], logit_h[n_hits] = row, j, logit
                n_hits += 1
            else:
                relative = logit - reference_b[j] + lift
                mass = exp(relative)
                sum_b[j] += mass
                logs_b[j] += mass * relative
        for j in range(b):
            sum_sb[s, j] = sum_b[j]
            square_b[j] += squares_b[j]
            weighted_b[j] += logs_b[j]
        if len(largest_sb):
            for j in range(b):
                largest_sb[s, j] = largest_b[j]
    return n_hits, n_rows
