//! What several sources agree on, while some of them lie (Marzullo, "Maintaining the Time in a Distributed System", PhD thesis,
//! 1984; RFC 5905 §11.2.1).
//!
//! Of n sources, fewer than half may be false, so at least the majority's number m = ⌊n/2⌋ + 1 are true, and every true
//! source's interval holds the true time. A source that has not been heard says nothing, which is: any time at all. So the
//! true time is in the intervals of all but at most n − m of those heard, and the span of all such times is what they agree
//! on. That claim is empty unless so many of those heard really meet in a point as could not all be false: then it is refused.

use qlab_kernel::mutant;

use super::interval::{Interval, difference_ns};

/// No majority agrees on a time: at least half of the sources are false, or too few have been heard. Keep what was known
/// before; ask on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "at most {agree} of {sources} time sources agree, and {majority} must: wait, or correct the false ones"
)]
pub struct NoMajority {
    /// The largest number of intervals that share a time.
    pub agree: usize,
    /// How many must.
    pub majority: usize,
    /// How many sources there are, heard or not.
    pub sources: usize,
}

/// Nanoseconds from one's own clock beyond which nothing is believed, 146 years: the scale wraps, and what is on its far side
/// cannot be put in order.
const FAR_NS: u64 = 1 << 62;

/// The span that holds the true time if fewer than half of `sources` are false. `heard` are the intervals of those heard, and
/// `near_ns` is any time in the same century.
pub fn select(heard: &[Interval], sources: usize, near_ns: u64) -> Result<Interval, NoMajority> {
    let majority = sources / 2 + 1;
    mutant!("select: a single source is trusted", majority = 1);
    let ends = Ends::of(heard, near_ns);
    let agree = ends.most();
    if agree < majority {
        return Err(NoMajority { agree, majority, sources });
    }
    let false_max = sources - majority;
    mutant!("select: a single source is trusted", false_max = ends.intervals() - 1);
    Ok(ends.span(ends.intervals() - false_max))
}

/// The ends of all intervals in the order of time, each as a distance from a time near them.
struct Ends {
    near_ns: u64,
    /// (distance, whether an interval ends here): where one begins and another ends, both hold.
    ends: Vec<(i64, bool)>,
}

impl Ends {
    /// An interval that is far away or endless is left out, as if its source had not been heard.
    fn of(intervals: &[Interval], near_ns: u64) -> Self {
        let mut ends = Vec::with_capacity(2 * intervals.len());
        for interval in intervals {
            let begin = difference_ns(interval.earliest_ns, near_ns);
            if begin.unsigned_abs() < FAR_NS && interval.width_ns() < FAR_NS {
                ends.extend([(begin, false), (difference_ns(interval.latest_ns, near_ns), true)]);
            }
        }
        ends.sort_unstable();
        Self { near_ns, ends }
    }

    fn intervals(&self) -> usize {
        self.ends.len() / 2
    }

    /// At each end, how many intervals hold there.
    fn depths(&self) -> impl Iterator<Item = (i64, usize)> + '_ {
        let mut open = 0;
        self.ends.iter().map(move |&(at, ends)| {
            let depth = if ends { open } else { open + 1 };
            open = if ends { open - 1 } else { open + 1 };
            (at, depth)
        })
    }

    fn most(&self) -> usize {
        self.depths().map(|(_, depth)| depth).max().unwrap_or(0)
    }

    /// From the first to the last time that at least `depth` intervals hold; there must be one.
    fn span(&self, depth: usize) -> Interval {
        let mut deep = self.depths().filter(|(_, d)| *d >= depth).map(|(at, _)| at);
        let first = deep.next().expect("that many agree");
        let time_ns = |at: i64| self.near_ns.wrapping_add(at as u64);
        Interval { earliest_ns: time_ns(first), latest_ns: time_ns(deep.last().unwrap_or(first)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn interval(earliest_ns: u64, latest_ns: u64) -> Interval {
        Interval { earliest_ns, latest_ns }
    }

    #[test]
    fn what_a_majority_shares_is_agreed_on() {
        let marzullo = [interval(8, 12), interval(11, 13), interval(10, 12)];
        assert_eq!(select(&marzullo, 3, 0), Ok(interval(10, 12)));
        let touching = [interval(8, 10), interval(10, 12)];
        assert_eq!(select(&touching, 2, 0), Ok(interval(10, 10)));
        let apart = [interval(8, 9), interval(10, 12)];
        assert_eq!(select(&apart, 2, 0), Err(NoMajority { agree: 1, majority: 2, sources: 2 }));
    }

    #[test]
    fn a_source_not_heard_makes_the_claim_wider_and_too_few_make_none() {
        let heard = [interval(0, 10), interval(5, 20), interval(6, 30), interval(100, 110)];
        assert_eq!(select(&heard[..3], 3, 0), Ok(interval(5, 20)));
        assert_eq!(
            select(&heard[..3], 5, 0),
            Ok(interval(0, 30)),
            "two more might be true and the third of these"
        );
        assert_eq!(select(&heard, 5, 0), Ok(interval(5, 20)));
        assert_eq!(select(&heard[..2], 5, 0), Err(NoMajority { agree: 2, majority: 3, sources: 5 }));
        assert_eq!(select(&[], 1, 0), Err(NoMajority { agree: 0, majority: 1, sources: 1 }));
    }

    proptest! {
        /// T6, with sources that lie as they please, are silent, or tell the truth with whatever uncertainty.
        #[test]
        fn the_truth_is_within_when_fewer_than_half_are_false(
            truth in any::<u64>(),
            honest in prop::collection::vec((0_u64..100, 0_u64..100, prop::bool::weighted(0.8)), 1..7),
            lies in prop::collection::vec((0_u64..400, 0_u64..200), 0..6),
        ) {
            let sources = 2 * lies.len().min(honest.len() - 1) + 1;
            let (liars, honest) = (&lies[..sources / 2], &honest[..sources / 2 + 1]);
            let mut heard: Vec<Interval> = honest
                .iter()
                .filter(|(.., is_heard)| *is_heard)
                .map(|(early, late, _)| interval(truth.wrapping_sub(*early), truth.wrapping_add(*late)))
                .collect();
            heard.extend(liars.iter().map(|(from, width)| {
                let earliest_ns = truth.wrapping_sub(200).wrapping_add(*from);
                interval(earliest_ns, earliest_ns.wrapping_add(*width))
            }));
            match select(&heard, sources, truth.wrapping_add(777)) {
                Ok(agreed) => prop_assert!(agreed.contains(truth)),
                Err(_) => prop_assert!(honest.iter().any(|(.., is_heard)| !is_heard), "all honest sources meet in the truth"),
            }
        }

        #[test]
        fn no_intervals_are_too_strange(ends in prop::collection::vec(any::<(u64, u64)>(), 0..6), near in any::<u64>()) {
            let heard: Vec<Interval> = ends.into_iter().map(|(from, to)| interval(from, to)).collect();
            if let Ok(agreed) = select(&heard, heard.len(), near) {
                prop_assert!(agreed.width_ns() < 2 * FAR_NS);
            }
        }

        #[test]
        fn liars_who_do_not_agree_are_refused(apart in 1_u64..1000, honest in 0_usize..3, liars in 3_u64..6) {
            let mut heard = vec![interval(0, 10); honest];
            heard.extend((1..=liars).map(|i| interval(i * (10 + apart), i * (10 + apart) + 10)));
            prop_assert!(select(&heard, heard.len(), 0).is_err());
        }
    }
}
