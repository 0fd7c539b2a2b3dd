//! For tests: what a receiver makes of a line that is sent at another speed than it listens at.

/// What a receiver at `heard_at` bits a second makes of bytes sent at `sent_at` (8N1): it waits for a falling edge,
/// samples in the middle of its own bits, and takes a byte without its stop bit all the same, as a driver does.
pub(crate) fn misread(bytes: &[u8], sent_at: u64, heard_at: u64) -> Vec<u8> {
    let mut line = vec![true; 4];
    for byte in bytes {
        line.push(false);
        line.extend((0..8).map(|bit| byte >> bit & 1 == 1));
        line.push(true);
    }
    line.extend([true; 16]);
    // Positions count in 1/1000 of a sent bit.
    let step = 1_000 * sent_at / heard_at;
    let level = |at: u64| line.get(usize::try_from(at / 1_000).unwrap()).copied();
    let (mut at, mut heard) = (0, Vec::new());
    'bytes: while let Some(high) = level(at) {
        if high {
            at += step.min(1_000) / 4;
            continue;
        }
        let mut byte = 0;
        for bit in 0..8 {
            let Some(one) = level(at + step * 3 / 2 + step * bit) else { break 'bytes };
            byte |= u8::from(one) << bit;
        }
        heard.push(byte);
        at += step * 19 / 2;
        // A driver reports a byte that runs on low, but begins the next only at a new edge.
        while level(at) == Some(false) {
            at += step.min(1_000) / 4;
        }
    }
    heard
}
