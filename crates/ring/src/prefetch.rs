//! Prefetching: asking the processor for memory before it is needed. A loop over values that lie apart in memory waits for each of
//! them; a loop that prefetches the next value while it works on this one does not wait.

/// Prefetches all cache lines of a value. It is a hint: nothing is read or changed. On processors other than x86-64 it does nothing.
#[inline]
pub fn prefetch<T>(value: &T) {
    #[cfg(all(target_arch = "x86_64", not(loom)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        /// Bytes of a cache line.
        const LINE: usize = 64;
        let start = (&raw const *value).cast::<i8>();
        let lines = (start.addr() % LINE + size_of::<T>()).div_ceil(LINE);
        for line in 0..lines {
            // SAFETY: a prefetch reads nothing that the program sees, and never faults, whatever the address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(line * LINE)) };
        }
    }
    #[cfg(not(all(target_arch = "x86_64", not(loom))))]
    let _ = value;
}

#[cfg(test)]
mod tests {
    #[test]
    fn any_value_may_be_asked_for() {
        super::prefetch(&());
        super::prefetch(&[7u8; 1_000]);
        super::prefetch(&vec![1u8, 2, 3]);
    }
}
