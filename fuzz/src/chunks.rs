//! Ways to cut bytes, none of which may change a verdict.

/// The bytes whole, one by one, and in pieces whose sizes the bytes themselves determine.
pub fn cuts(bytes: &[u8]) -> [Vec<&[u8]>; 3] {
    [vec![bytes], bytes.chunks(1).collect(), uneven(bytes)]
}

/// Pieces of 1 to 64 bytes, the same for the same bytes.
fn uneven(bytes: &[u8]) -> Vec<&[u8]> {
    let mut state = bytes.iter().fold(1u32, |state, byte| state.wrapping_mul(31).wrapping_add(u32::from(*byte)));
    let mut rest = bytes;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let size = 1 + (state >> 26) as usize;
        let (piece, behind) = rest.split_at(size.min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces
}
