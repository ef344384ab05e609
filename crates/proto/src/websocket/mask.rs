//! Payloads without their mask (RFC 6455, 5.3).

/// Appends `masked` to `out` without its mask. `position` is where in the payload it begins.
pub fn unmask_into(masked: &[u8], mask: [u8; 4], position: u64, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(masked);
    unmask(&mut out[start..], mask, position);
}

/// Takes the mask off in place.
pub fn unmask(bytes: &mut [u8], mut mask: [u8; 4], position: u64) {
    mask.rotate_left((position % 4) as usize);
    let word = u64::from(u32::from_ne_bytes(mask)) * 0x1_0000_0001;
    // Eight at a time, of which the compiler makes vectors.
    let (words, rest) = bytes.as_chunks_mut();
    for chunk in words {
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_and_position_is_what_single_bytes_make_of_it() {
        let mask = [0x11, 0x22, 0x44, 0x88];
        let source: Vec<u8> = (0..=255).collect();
        for length in 0..70 {
            for position in 0..9_u8 {
                let mut out = vec![7];
                unmask_into(&source[..length], mask, position.into(), &mut out);
                let expected: Vec<u8> = (0..length)
                    .map(|index| source[index] ^ mask[(index + usize::from(position)) % 4])
                    .collect();
                assert_eq!(out[1..], expected, "{length} bytes at {position}");
            }
        }
    }
}
