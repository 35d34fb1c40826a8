//! The invariant of the name-value pairs.

use crate::cgi::Params;
use crate::protocol::{parse_pairs, Capabilities, Pair, ValuesQuery};

/// Every pair lies within its buffer, encoding all of them again gives back the consumed prefix, and nothing is
/// allocated by announced length.
pub fn pairs(buffer: &[u8]) {
    let mut pairs = Vec::new();
    let parsed = parse_pairs(buffer, &mut pairs);
    // The shortest pair has two bytes, and a growing vector doubles.
    assert!(pairs.capacity() <= 4 + buffer.len(), "{} places for {} bytes", pairs.capacity(), buffer.len());
    let consumed = pairs.iter().fold(0, |end, pair| check_pair(buffer, end, *pair));
    match parsed {
        Ok(()) => assert_eq!(consumed, buffer.len()),
        Err(_) => assert!(!begins_with_a_pair(&buffer[consumed..]), "a good pair at {consumed} was refused"),
    }
    assert_eq!(Params::parse(buffer.to_vec()).is_ok(), parsed.is_ok());
    check_params(buffer, &pairs);
    check_answer(buffer);
}

/// Compares the bytes from `start` on with the pair's encoding, and returns where that ends.
fn check_pair(buffer: &[u8], start: usize, pair: Pair) -> usize {
    let (name, value) = (&buffer[pair.name_range()], &buffer[pair.value_range()]);
    assert_eq!((name, value), (pair.name(buffer), pair.value(buffer)));
    let mut encoded = Vec::new();
    for content in [name, value] {
        let is_long = buffer[start + encoded.len()] >= 0x80;
        put_length(&mut encoded, content.len(), is_long);
    }
    encoded.extend_from_slice(name);
    encoded.extend_from_slice(value);
    assert!(buffer[start..].starts_with(&encoded), "the pair at {start} is another one");
    start + encoded.len()
}

fn put_length(encoded: &mut Vec<u8>, len: usize, is_long: bool) {
    match (is_long, u8::try_from(len)) {
        (true, _) => encoded.extend((len as u32 + (1 << 31)).to_be_bytes()),
        (false, Ok(len)) => encoded.push(len),
        (false, Err(_)) => panic!("{len} bytes were announced in one byte"),
    }
}

fn begins_with_a_pair(bytes: &[u8]) -> bool {
    let length = |bytes: &[u8]| match *bytes {
        [short, ..] if short < 0x80 => Some((u64::from(short), 1)),
        [a, b, c, d, ..] => Some((u64::from(u32::from_be_bytes([a, b, c, d])) - (1 << 31), 4)),
        _ => None,
    };
    let Some((name_len, first)) = length(bytes) else { return false };
    let Some((value_len, second)) = length(&bytes[first..]) else { return false };
    name_len + value_len <= (bytes.len() - first - second) as u64
}

/// The public list holds the same pairs, and can be made of them.
fn check_params(buffer: &[u8], pairs: &[Pair]) {
    let expected: Vec<_> = pairs.iter().map(|pair| (pair.name(buffer), pair.value(buffer))).collect();
    let params = Params::from_iter(expected.iter().copied());
    assert!(params.iter().eq(expected.iter().copied()), "the list lost something");
    assert_eq!(params.len(), expected.len());
}

/// A query of any bytes gets one small record in answer.
fn check_answer(buffer: &[u8]) {
    let capabilities = Capabilities { max_conns: usize::MAX, max_reqs: 1, multiplex: false };
    let (mut query, mut answer) = (ValuesQuery::default(), Vec::new());
    super::pieces(buffer).for_each(|piece| query.add(piece));
    query.answer(&capabilities, &mut answer);
    assert!(answer.starts_with(b"\x01\x0a\0\0\0") && answer.len() <= 96, "{answer:?}");
}
