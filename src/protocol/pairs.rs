//! Name-value pairs (section 3.4): offsets into one buffer, nothing copied and nothing allocated by announced length.

/// Where one pair lies in its buffer: the value follows the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    start: u32,
    name_len: u32,
    value_len: u32,
}

impl Pair {
    pub(crate) fn name_range(self) -> std::ops::Range<usize> {
        let start = self.start as usize;
        start..start + self.name_len as usize
    }

    pub(crate) fn value_range(self) -> std::ops::Range<usize> {
        let start = self.name_range().end;
        start..start + self.value_len as usize
    }

    pub(crate) fn name(self, buffer: &[u8]) -> &[u8] {
        buffer.get(self.name_range()).unwrap_or_default()
    }

    pub(crate) fn value(self, buffer: &[u8]) -> &[u8] {
        buffer.get(self.value_range()).unwrap_or_default()
    }
}

/// The buffer ends inside a pair, or announces more than a buffer can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PairsError;

/// Appends the pairs of a whole stream or record to `pairs`. On an error those before the bad one are in `pairs`.
pub(crate) fn parse_pairs(buffer: &[u8], pairs: &mut Vec<Pair>) -> Result<(), PairsError> {
    let mut at = 0;
    while at < buffer.len() {
        let (name_len, value_len) = lengths(buffer, &mut at)?;
        let start = at;
        // Both lengths are below 2^31, so that the sum fits a u64 whatever the width of usize.
        let end = start as u64 + u64::from(name_len) + u64::from(value_len);
        if end > buffer.len() as u64 {
            return Err(PairsError);
        }
        let start = u32::try_from(start).map_err(|_| PairsError)?;
        pairs.push(Pair { start, name_len, value_len });
        at = end as usize;
    }
    Ok(())
}

/// Appends one pair.
pub(crate) fn put_pair(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for len in [name.len(), value.len()] {
        match u8::try_from(len) {
            Ok(short) if short < 0x80 => out.push(short),
            // Longer than 2^31 is no name and no value.
            _ => out.extend_from_slice(&(len as u32 | 0x8000_0000).to_be_bytes()),
        }
    }
    out.extend_from_slice(name);
    out.extend_from_slice(value);
}

/// The lengths of a name and its value.
fn lengths(buffer: &[u8], at: &mut usize) -> Result<(u32, u32), PairsError> {
    match buffer[*at..] {
        // By far the most.
        [name_len, value_len, ..] if (name_len | value_len) < 0x80 => {
            *at += 2;
            Ok((u32::from(name_len), u32::from(value_len)))
        }
        _ => Ok((length(buffer, at)?, length(buffer, at)?)),
    }
}

/// One length: a byte below 128, or four bytes with the top bit set.
fn length(buffer: &[u8], at: &mut usize) -> Result<u32, PairsError> {
    let rest = buffer.get(*at..).unwrap_or_default();
    match *rest {
        [short, ..] if short < 0x80 => {
            *at += 1;
            Ok(u32::from(short))
        }
        [a, b, c, d, ..] => {
            *at += 4;
            Ok(u32::from_be_bytes([a & 0x7f, b, c, d]))
        }
        _ => Err(PairsError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(buffer: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>, PairsError> {
        let mut pairs = Vec::new();
        parse_pairs(buffer, &mut pairs)?;
        let owned = |pair: &Pair| (pair.name(buffer).to_vec(), pair.value(buffer).to_vec());
        Ok(pairs.iter().map(owned).collect())
    }

    #[test]
    fn pairs_of_every_length_form_are_read() {
        let long = [b'v'; 300];
        let mut long_pair = vec![1, 0x80, 0, 1, 44, b'N'];
        long_pair.extend_from_slice(&long);
        let rows: &[(&[u8], &[(&[u8], &[u8])])] = &[
            (b"", &[]),
            (b"\x00\x00", &[(b"", b"")]),
            (b"\x01\x02ABC", &[(b"A", b"BC")]),
            (b"\x01\x00A\x02\x01BCD", &[(b"A", b""), (b"BC", b"D")]),
            (b"\x80\x00\x00\x01\x80\x00\x00\x01AB", &[(b"A", b"B")]),
            (&long_pair, &[(b"N", &long)]),
        ];
        for (buffer, expected) in rows {
            let expected: Vec<_> = expected.iter().map(|(n, v)| (n.to_vec(), v.to_vec())).collect();
            assert_eq!(parsed(buffer), Ok(expected), "{buffer:?}");
        }
    }

    #[test]
    fn what_is_put_is_read() {
        for len in [0, 1, 127, 128, 300, 70_000] {
            let (mut out, value) = (Vec::new(), vec![b'v'; len]);
            put_pair(&mut out, b"NAME", &value);
            put_pair(&mut out, &value, b"");
            assert_eq!(parsed(&out), Ok(vec![(b"NAME".to_vec(), value.clone()), (value, Vec::new())]));
        }
    }

    #[test]
    fn a_buffer_that_ends_inside_a_pair_is_an_error() {
        let rows: &[&[u8]] = &[
            b"\x01",
            b"\x80",
            b"\x80\x00\x00",
            b"\x01\x80\x00\x00",
            b"\x02\x01AB",
            b"\xff\xff\xff\xff\xff\xff\xff\xffAB",
            b"\x01\xff\xff\xff\xffA",
            b"\x01\x01AB\x01",
        ];
        for buffer in rows {
            assert_eq!(parsed(buffer), Err(PairsError), "{buffer:?}");
        }
    }

    #[test]
    fn every_cut_of_a_good_buffer_is_either_whole_pairs_or_an_error() {
        let buffer = b"\x01\x02ABC\x80\x00\x00\x03\x01xyzV\x00\x00";
        let whole: Vec<usize> = vec![0, 5, 14, 16];
        for cut in 0..=buffer.len() {
            assert_eq!(parsed(&buffer[..cut]).is_ok(), whole.contains(&cut), "cut at {cut}");
        }
    }
}
