//! One encoding for each state: counted lists in strictly ascending order, checked when they are read.

use std::collections::BTreeMap;

use bytes::Bytes;
use qlab_kernel::wire::put_bytes;
use qlab_kernel::{Reader, Sink, Wire, WireError};

use super::ELEMENT_BYTES_MAX;

pub(super) fn put_count(sink: &mut impl Sink, count: usize) {
    u32::try_from(count).expect("states are far below 2^32 items: frames bound them").encode(sink);
}

/// A count, then so many pairs whose keys ascend strictly. Each takes bytes, so that the input bounds the work.
pub(super) fn take_map<K: Ord, V>(
    reader: &mut Reader,
    what: &'static str,
    take: impl Fn(&mut Reader) -> Result<(K, V), WireError>,
) -> Result<BTreeMap<K, V>, WireError> {
    let count = reader.u32()?;
    let mut pairs: Vec<(K, V)> = Vec::new();
    for at in 0..count {
        let pair = take(reader)?;
        if pairs.last().is_some_and(|last| last.0 >= pair.0) {
            return Err(WireError::Invalid { what, value: at.into() });
        }
        pairs.push(pair);
    }
    Ok(pairs.into_iter().collect())
}

pub(super) fn put_element(sink: &mut impl Sink, element: &Bytes) {
    put_bytes(sink, element);
}

pub(super) fn take_element(reader: &mut Reader) -> Result<Bytes, WireError> {
    reader.take_bytes("element", ELEMENT_BYTES_MAX)
}

/// A number that `encode` never writes as zero.
pub(super) fn take_positive(reader: &mut Reader, what: &'static str) -> Result<u64, WireError> {
    match reader.u64()? {
        0 => Err(WireError::Invalid { what, value: 0 }),
        number => Ok(number),
    }
}
