//! Integers in as few bytes as they need: seven bits a byte, low bits first, the high bit set on all but the last (LEB128).
//!
//! One value has one encoding: what could have been shorter is refused, so that equal values have equal bytes.

use qlab_kernel::{Reader, Sink, WireError};

/// Bytes of the longest one: 64 bits, seven at a time.
const BYTES_MAX: usize = 10;

pub(crate) fn put(sink: &mut impl Sink, mut value: u64) {
    if value <= 0x7f {
        // Most are short, and a copy of known length is no call.
        return sink.put(&[value as u8]);
    }
    let mut bytes = [0; BYTES_MAX];
    let mut len = 0;
    while value > 0x7f {
        bytes[len] = (value & 0x7f) as u8 | 0x80;
        value >>= 7;
        len += 1;
    }
    bytes[len] = value as u8;
    sink.put(&bytes[..=len]);
}

pub(crate) fn take(reader: &mut Reader, what: &'static str) -> Result<u64, WireError> {
    let mut value = 0;
    for place in 0..BYTES_MAX {
        let byte = reader.u8()?;
        let bits = u64::from(byte & 0x7f);
        let shift = 7 * place as u32;
        let padded = byte == 0 && place > 0;
        if padded || bits << shift >> shift != bits {
            return Err(WireError::Invalid { what, value: byte.into() });
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(WireError::TooLong { what, bytes: BYTES_MAX + 1, limit_bytes: BYTES_MAX })
}

/// Small differences of either sign as small numbers: 0, −1, 1, −2, 2 … become 0, 1, 2, 3, 4 …
pub(crate) const fn zigzag(difference: i64) -> u64 {
    ((difference << 1) ^ (difference >> 63)) as u64
}

/// The counterpart of [`zigzag`].
pub(crate) const fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn taken(bytes: Vec<u8>) -> Result<u64, WireError> {
        let mut reader = Reader::new(bytes.into());
        let value = take(&mut reader, "number")?;
        reader.finish().map(|()| value)
    }

    #[test]
    fn padding_and_more_than_64_bits_are_refused() {
        assert_eq!(taken(vec![0x00]), Ok(0));
        assert!(taken(vec![0x80, 0x00]).is_err());
        assert!(taken(vec![0x81, 0x80, 0x00]).is_err());
        assert_eq!(taken([vec![0xff; 9], vec![0x01]].concat()), Ok(u64::MAX));
        assert!(taken([vec![0xff; 9], vec![0x02]].concat()).is_err());
        assert!(taken(vec![0xff; 11]).is_err());
        assert!(taken(vec![0xff]).is_err());
    }

    proptest! {
        #[test]
        fn what_is_put_is_taken(bits in any::<u64>(), shift in 0_u32..64) {
            let value = bits >> shift;
            let mut bytes = Vec::new();
            put(&mut bytes, value);
            prop_assert_eq!(bytes.len(), (64 - value.leading_zeros() as usize).div_ceil(7).max(1));
            prop_assert_eq!(taken(bytes), Ok(value));
            prop_assert_eq!(unzigzag(zigzag(value as i64)), value as i64);
        }

        #[test]
        fn accepted_bytes_are_the_only_encoding(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            if let Ok(value) = taken(bytes.clone()) {
                let mut again = Vec::new();
                put(&mut again, value);
                prop_assert_eq!(again, bytes);
            }
        }
    }
}
