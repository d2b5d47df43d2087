//! A span of time that holds the true time, instead of a number that does not (Marzullo and Owicki, "Maintaining the Time in a
//! Distributed System", 1983).
//!
//! Times are nanoseconds on the common scale, 64 bits that wrap: two times are compared by their difference, which must be
//! less than 2⁶³ ns, 292 years.

/// The true time lies between its ends, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// No earlier than this, in nanoseconds on the common scale.
    pub earliest_ns: u64,
    /// No later than this.
    pub latest_ns: u64,
}

impl Interval {
    /// `half_ns` to either side of `middle_ns`.
    #[must_use]
    pub const fn around(middle_ns: u64, half_ns: u64) -> Self {
        Self { earliest_ns: middle_ns.wrapping_sub(half_ns), latest_ns: middle_ns.wrapping_add(half_ns) }
    }

    /// From one end to the other.
    #[must_use]
    pub const fn width_ns(self) -> u64 {
        self.latest_ns.wrapping_sub(self.earliest_ns)
    }

    /// The best guess: no other is wrong by less in the worst case.
    #[must_use]
    pub const fn middle_ns(self) -> u64 {
        self.earliest_ns.wrapping_add(self.width_ns() / 2)
    }

    /// By how much the middle is wrong at most.
    #[must_use]
    pub const fn half_ns(self) -> u64 {
        self.width_ns().div_ceil(2)
    }

    /// Whether `time_ns` may be the true time.
    #[must_use]
    pub const fn contains(self, time_ns: u64) -> bool {
        time_ns.wrapping_sub(self.earliest_ns) <= self.width_ns()
    }

    /// By how much a clock that shows `reading_ns` is wrong at most.
    #[must_use]
    pub fn error_ns(self, reading_ns: u64) -> u64 {
        let to_ends = [self.earliest_ns, self.latest_ns].map(|end| difference_ns(end, reading_ns));
        to_ends[0].unsigned_abs().max(to_ends[1].unsigned_abs())
    }

    /// Whether an event at this time certainly came after one at `other`, on whichever hosts they were. Of two events that
    /// might have been the other way around, neither is definitely after the other.
    #[must_use]
    pub const fn definitely_after(self, other: Self) -> bool {
        difference_ns(self.earliest_ns, other.latest_ns) > 0
    }

    /// Whether there is a time in both.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        !self.definitely_after(other) && !other.definitely_after(self)
    }
}

/// `a − b`: how much later `a` is.
pub(crate) const fn difference_ns(a: u64, b: u64) -> i64 {
    a.wrapping_sub(b) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_depends_on_where_the_scale_wraps(start in any::<u64>(), half in 0_u64..1000, at in 0_u64..5000) {
            let (here, there) = (Interval::around(2000, half), Interval::around(start.wrapping_add(2000), half));
            let moved = start.wrapping_add(at);
            prop_assert_eq!(here.contains(at), there.contains(moved));
            prop_assert_eq!(here.contains(at), at.abs_diff(2000) <= half);
            prop_assert_eq!(here.error_ns(at), there.error_ns(moved));
            prop_assert_eq!(here.error_ns(at), at.abs_diff(2000) + half);
            prop_assert_eq!((there.half_ns(), there.middle_ns()), (half, start.wrapping_add(2000)));
        }

        /// T8: the true order of two events is never contradicted.
        #[test]
        fn events_in_one_order_are_never_definitely_in_the_other(
            first in any::<u64>(),
            gap in 0_u64..1000,
            errors in prop::array::uniform4(0_u64..800),
        ) {
            let second = first.wrapping_add(gap);
            let a = Interval { earliest_ns: first.wrapping_sub(errors[0]), latest_ns: first.wrapping_add(errors[1]) };
            let b = Interval { earliest_ns: second.wrapping_sub(errors[2]), latest_ns: second.wrapping_add(errors[3]) };
            prop_assert!(!a.definitely_after(b));
            prop_assert_eq!(b.definitely_after(a), gap > errors[1] + errors[2]);
            prop_assert_eq!(a.overlaps(b), gap <= errors[1] + errors[2]);
        }
    }
}
